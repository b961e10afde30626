//! Values that have a name on the command line and in files.

/// Reads and writes a type in files by its `FromStr` and `Display`.
macro_rules! as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(
                &self,
                serializer: S,
            ) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> std::result::Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(|error| match error {
                    $crate::error::Error::Input { message, .. } => {
                        serde::de::Error::custom(message)
                    }
                    other => serde::de::Error::custom(other),
                })
            }
        }
    };
}
pub(crate) use as_text;

/// Defines an enum whose variants have a name on the command line and in files; `$field` is the setting that it is the
/// value of.
macro_rules! named {
    ($(#[$attribute:meta])* $type:ident, $field:literal { $($(#[$variant_attribute:meta])* $variant:ident = $name:literal),* $(,)? }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$variant_attribute])* $variant),* }

        impl $type {
            /// All variants, in the order of the command line's help.
            pub const ALL: &[$type] = &[$($type::$variant),*];

            /// The name on the command line and in files.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name),* }
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::error::Error;
            fn from_str(name: &str) -> std::result::Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|choice| choice.name() == name).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|choice| choice.name()).collect();
                    $crate::error::Error::field($field, format!("'{name}' is none of {}", names.join(", ")))
                })
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        $crate::named::as_text!($type);

        #[cfg(feature = "cli")]
        impl $crate::argument::Argument for $type {
            fn parser() -> impl clap::builder::TypedValueParser<Value = Self> {
                $crate::argument::choice(Self::ALL)
            }
        }
    };
}
pub(crate) use named;
