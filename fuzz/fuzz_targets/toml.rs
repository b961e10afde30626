//! Any text as a configuration file of either task: an error, or settings that survive being written and read, never a panic.
#![no_main]

use alrao::{rl, supervised};
use libfuzzer_sys::fuzz_target;

macro_rules! check {
    ($settings:ty, $text:expr) => {
        let path = "fuzz.toml".as_ref();
        let read = <$settings>::from_toml($text, path).and_then(|settings| settings.resolve());
        if let Ok(config) = read {
            let written = <$settings>::from(&config).to_toml();
            let again = <$settings>::from_toml(&written, path).and_then(|own| own.resolve());
            assert_eq!(again.expect("what was resolved can be read"), config);
        }
    };
}

fuzz_target!(|text: &str| {
    check!(supervised::settings::Settings, text);
    check!(rl::settings::Settings, text);
});
