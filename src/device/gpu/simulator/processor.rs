//! A check that this processor has the extensions that the kernels were compiled for.

use std::ffi::{CStr, c_char};

use crate::error::{Error, Result};

// SAFETY: declared as cuda_on_host.cpp defines it.
unsafe extern "C" {
    fn simulator_compiled_for() -> *const c_char;
}

/// The extensions that the kernels were compiled for, separated by spaces.
fn compiled_for() -> &'static str {
    // SAFETY: it returns a string literal.
    unsafe { CStr::from_ptr(simulator_compiled_for()) }.to_str().unwrap_or_default()
}

macro_rules! detected {
    ($name:expr; $($extension:tt)*) => {
        match $name {
            $($extension => std::arch::is_x86_feature_detected!($extension),)*
            _ => false,
        }
    };
}

/// Whether this processor has an extension, by its name in cuda_on_host.cpp.
fn has(extension: &str) -> bool {
    detected!(extension; "sse2" "sse4.2" "popcnt" "avx" "f16c" "avx2" "fma" "bmi1" "bmi2" "lzcnt" "avx512f" "avx512cd"
        "avx512bw" "avx512dq" "avx512vl" "avx512ifma" "avx512vbmi" "avx512vbmi2" "avx512vnni" "avx512bitalg"
        "avx512vpopcntdq" "avx512bf16" "gfni" "vaes" "vpclmulqdq")
}

/// Fails if the kernels use instructions that this processor lacks.
pub(super) fn check() -> Result<()> {
    let complaint = complaint(compiled_for(), has);
    complaint.map_or(Ok(()), |message| Err(Error::device("simulator", message)))
}

fn complaint(compiled_for: &str, has: impl Fn(&str) -> bool) -> Option<String> {
    let missing: Vec<&str> =
        compiled_for.split_whitespace().filter(|extension| !has(extension)).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "its kernels were compiled for a processor with {}, which this one does not have: build again on this \
             machine, or for most of them with ALRAO_HOST_CPU=x86-64-v3; or use `device` cpu",
            missing.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_processor_lacks_is_named() {
        let text = complaint("sse2 avx2 avx512f", |extension| extension == "sse2").unwrap();
        assert!(text.contains("with avx2, avx512f, which"), "{text}");
        assert_eq!(complaint("sse2 avx2", |_| true), None);
    }

    #[test]
    fn the_kernels_say_what_they_need_and_this_processor_has_it() {
        assert!(compiled_for().split_whitespace().any(|extension| extension == "sse2"));
        check().unwrap();
    }
}
