#![no_main]
//! Any text as a configuration file: an error, or settings that survive being written and read, never a panic.

use alrao::supervised::settings::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = "fuzz.toml".as_ref();
    let Ok(config) = Settings::from_toml(text, path).and_then(|settings| settings.resolve()) else { return };
    let written = Settings::from(&config).to_toml();
    let again = Settings::from_toml(&written, path).and_then(|settings| settings.resolve());
    assert_eq!(again.expect("what was resolved can be read"), config);
});
