//! A set of settings, each of which is a flag and a key of a file.

/// Defines a struct of settings that may each be left out, and what all such structs can do.
macro_rules! settings {
    ($(#[$documentation:meta])* $name:ident; $($(#[$attribute:meta])* $key:ident: $type:ty),* $(,)?) => {
        $(#[$documentation])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$attribute])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)*
            /// The keys that came from a file, and which file, for messages.
            #[serde(skip)]
            pub origins: std::collections::BTreeMap<&'static str, std::path::PathBuf>,
        }

        impl $name {
            /// Every key, in the order they are written in.
            pub(crate) const KEYS: &[&str] = &[$(stringify!($key)),*];

            /// The keys that have a value.
            pub fn given(&self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(if self.$key.is_some() { keys.push(stringify!($key)); })*
                keys
            }

            /// These settings, and `base`'s where these have none: flags over a file.
            pub fn over(self, base: Self) -> Self {
                let mut origins = base.origins;
                $(if self.$key.is_some() { origins.remove(stringify!($key)); })*
                origins.extend(self.origins);
                $name { $($key: self.$key.or(base.$key),)* origins }
            }

            /// The same, with a note that all that is given came from a file.
            pub(crate) fn read_from(mut self, path: &std::path::Path) -> Self {
                self.origins = self.given().into_iter().map(|key| (key, path.to_owned())).collect();
                self
            }

            /// How a message names a setting: by its flag, or by its key where it came from a file.
            pub(crate) fn subject(&self, key: &str) -> String {
                match self.origins.get(key) {
                    Some(path) => format!("key '{key}' in {}", path.display()),
                    None => $crate::learn::settings::flag(key),
                }
            }
        }
    };
}
pub(crate) use settings;
