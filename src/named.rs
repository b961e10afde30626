//! A macro for enums whose variants have names on the command line and in files.

/// Defines an enum whose variants have names on the command line and in files.
macro_rules! named {
    ($(#[$attribute:meta])* $type:ident, $flag:literal { $($(#[$variant_attribute:meta])* $variant:ident = $name:literal),* $(,)? }) => {
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
                    $crate::error::Error::input($flag, format!("'{name}' is none of {}", names.join(", ")))
                })
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use named;
