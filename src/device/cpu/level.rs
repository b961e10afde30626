//! The vector instructions that the device uses: the processor's best, or those that `ALRAO_CPU` restricts it to.

use std::env;
use std::ffi::OsString;
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// The environment variable that restricts the device to an instruction set.
const SETTING: &str = "ALRAO_CPU";

/// The vector instructions that a loop is compiled for, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Level {
    /// Those of every processor of this architecture.
    Plain,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    const ALL: &[Level] = &[
        Level::Plain,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512,
    ];

    fn name(self) -> &'static str {
        match self {
            Level::Plain => "plain vectors",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "AVX-512",
        }
    }

    /// Its value of `ALRAO_CPU`.
    fn setting(self) -> &'static str {
        match self {
            Level::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        }
    }

    /// Whether it has 32 vector registers rather than 16.
    pub fn has_32_registers(self) -> bool {
        match self {
            Level::Plain => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => false,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => true,
        }
    }
}

/// The level that this process uses.
struct Chosen {
    level: Level,
    /// Whether `ALRAO_CPU` asked for it.
    is_held: bool,
}

/// Reads `ALRAO_CPU` once, so that all ops use the same level. The error describes an invalid value.
fn chosen() -> &'static std::result::Result<Chosen, String> {
    static CHOSEN: OnceLock<std::result::Result<Chosen, String>> = OnceLock::new();
    CHOSEN.get_or_init(|| choose(env::var_os(SETTING), best()))
}

fn choose(wanted: Option<OsString>, best: Level) -> std::result::Result<Chosen, String> {
    let Some(wanted) = wanted else { return Ok(Chosen { level: best, is_held: false }) };
    let mut possible = Level::ALL.iter().filter(|level| **level <= best);
    match possible.clone().find(|level| wanted == level.setting()) {
        Some(level) => Ok(Chosen { level: *level, is_held: true }),
        None => {
            let first = possible.next().map_or("", |level| level.setting());
            let names = possible.fold(first.to_owned(), |text, next| text + ", " + next.setting());
            let wanted = wanted.display();
            Err(format!("'{wanted}' is not possible on this processor; give one of {names}"))
        }
    }
}

/// Checks `ALRAO_CPU`.
///
/// # Errors
/// [`Error::Input`] if its value is not a level of this processor.
pub(crate) fn check() -> Result<()> {
    chosen().as_ref().map(|_| ()).map_err(|message| Error::input(SETTING, message))
}

/// The level of all work on this device. Panics if [`check`] fails, which opening a device calls first.
#[inline]
pub(crate) fn level() -> Level {
    match chosen() {
        Ok(chosen) => chosen.level,
        Err(message) => panic!("{SETTING}: {message}"),
    }
}

/// The level's name for people, with a note if `ALRAO_CPU` chose it.
pub(super) fn description() -> String {
    let held = matches!(chosen(), Ok(Chosen { is_held: true, .. }));
    format!("{}{}", level().name(), if held { " as ALRAO_CPU says" } else { "" })
}

/// The best level of this processor. A level needs the features that [`super::vector::vectorised`] compiles for, and
/// F16C, which the gemm crates require too.
fn best() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let fused = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw");
        if fused && wide {
            return Level::Avx512;
        }
        if fused {
            return Level::Avx2;
        }
    }
    Level::Plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_the_processor_lacks_is_an_error_that_names_those_it_has() {
        for (wanted, best) in [("avx513", Level::Plain), ("", Level::Plain), ("PLAIN", best())] {
            let message = choose(Some(wanted.into()), best).err().unwrap();
            assert!(message.contains(&format!("'{wanted}'")) && message.contains("plain"));
        }
        for best in Level::ALL {
            for wanted in Level::ALL {
                let chosen = choose(Some(wanted.setting().into()), *best);
                assert_eq!(chosen.is_ok(), wanted <= best, "{wanted:?} on {best:?}");
                assert!(chosen.is_ok_and(|it| it.level == *wanted && it.is_held) || wanted > best);
            }
            assert!(choose(None, *best).is_ok_and(|it| it.level == *best && !it.is_held));
        }
    }
}
