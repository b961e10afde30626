//! Groups of settings. One line of a group defines a setting's flag, its key in a TOML file, its range and its place in
//! the run's configuration.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A group of optional settings.
pub trait Group: Clone + Default + Serialize + DeserializeOwned {
    /// Every key, in the order of a file.
    const KEYS: &'static [&'static str];

    /// The keys that have a value.
    fn given(&self) -> Vec<&'static str>;

    /// These settings, completed by those of `base`.
    fn over(self, base: Self) -> Self;

    /// Keeps only the settings whose key is wanted.
    fn retain(&mut self, is_wanted: &dyn Fn(&str) -> bool);

    /// Checks each value on its own.
    ///
    /// # Errors
    /// The key of the first value out of its range, and a message.
    fn check(&self) -> Result<(), (&'static str, String)>;
}

/// A group whose values belong to a configuration `C`.
pub trait GroupOf<C>: Group {
    /// Writes the given values to a configuration.
    fn apply(&self, config: &mut C);

    /// The settings with the configuration's values, for those that have a place in it.
    fn of(config: &C) -> Self;
}

/// A place in a configuration for a setting's value.
pub(crate) trait Place<T> {
    fn put(&mut self, value: T);
    fn get(&self) -> Option<T>;
}

impl<T: Clone> Place<T> for T {
    fn put(&mut self, value: T) {
        *self = value;
    }

    fn get(&self) -> Option<T> {
        Some(self.clone())
    }
}

impl<T: Clone> Place<T> for Option<T> {
    fn put(&mut self, value: T) {
        *self = Some(value);
    }

    fn get(&self) -> Option<T> {
        self.clone()
    }
}

/// Defines a [`GroupOf`] a configuration. Each heading of the help has its settings in the form
/// `/// help` `key: type, "VALUE", check => place in the configuration;`. A setting without a place is applied by hand.
/// The configuration's type parameter, if it has one, comes before it in brackets:
///
/// ```ignore
/// settings! {
///     /// Documentation of the group.
///     LearningSettings, [T] RunConfig<T>;
///     "Learning rates" {
///         /// alrao and sgd: momentum [default: 0]
///         momentum: f64, "FACTOR", check::below_one("0 (none) to below 1") => train.momentum;
///     }
/// }
/// ```
macro_rules! settings {
    (
        $(#[$documentation:meta])*
        $name:ident, [$($generic:ident)?] $config:ty;
        $($heading:literal {
            $($(#[$attribute:meta])* $key:ident: $type:ty, $value:literal, $check:expr $(=> $($path:ident).+)?;)*
        })*
    ) => {
        $(#[$documentation])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        #[cfg_attr(feature = "cli", derive(clap::Args))]
        // The texts are the help of flags, where brackets mark what may be left out.
        #[allow(rustdoc::broken_intra_doc_links)]
        pub struct $name {
            $($(
                $(#[$attribute])*
                #[serde(skip_serializing_if = "Option::is_none")]
                #[cfg_attr(feature = "cli", arg(
                    long,
                    value_name = $value,
                    help_heading = $heading,
                    value_parser = <$type as $crate::argument::Argument>::parser()
                ))]
                pub $key: Option<$type>,
            )*)*
        }

        impl $crate::learn::settings::Group for $name {
            const KEYS: &'static [&'static str] = &[$($(stringify!($key)),*),*];

            fn given(&self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $($(if self.$key.is_some() { keys.push(stringify!($key)); })*)*
                keys
            }

            fn over(self, base: Self) -> Self {
                $name { $($($key: self.$key.or(base.$key),)*)* }
            }

            fn retain(&mut self, is_wanted: &dyn Fn(&str) -> bool) {
                $($(if !is_wanted(stringify!($key)) { self.$key = None; })*)*
            }

            fn check(&self) -> std::result::Result<(), (&'static str, String)> {
                $($(if let Some(value) = &self.$key {
                    ($check)(value).map_err(|message: String| (stringify!($key), message))?;
                })*)*
                Ok(())
            }
        }

        impl<$($generic)?> $crate::learn::settings::GroupOf<$config> for $name {
            fn apply(&self, config: &mut $config) {
                use $crate::learn::settings::Place;
                $($($(if let Some(value) = &self.$key {
                    config.$($path).+.put(value.clone());
                })?)*)*
            }

            fn of(config: &$config) -> Self {
                use $crate::learn::settings::Place;
                let mut settings = $name::default();
                $($($(settings.$key = config.$($path).+.get();)?)*)*
                settings
            }
        }
    };
}
pub(crate) use settings;
