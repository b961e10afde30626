//! Kernels that were compiled while the program runs, in a shared library of their own.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::abi::{self, Kernel};
#[cfg(feature = "cli")]
use crate::device::gpu::launch::ArgumentKind;
use crate::error::{Error, Result};

/// The kernels of a shared library, which stays loaded until the program ends. They report each access, so that races are
/// found and memory traffic is counted in every build.
pub struct Library {
    kernels: Vec<&'static Kernel>,
}

impl Library {
    /// Loads a library of kernels that were compiled with `cuda_on_host.h`. Messages name the lines of those libraries that are loaded before
    /// the first kernel of this process fails; of later ones they have addresses only.
    ///
    /// # Errors
    /// [`Error::Input`] with the system's message if the file is no such library.
    pub fn load(path: &Path) -> Result<&'static Library> {
        static LOADING: Mutex<()> = Mutex::new(());
        let failed = |message: &str| Error::file(path, format!("cannot be loaded: {message}"));
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| failed("a zero byte in its name"))?;
        let _alone = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        // The library's kernels join the list of all; the program's own are taken from it first.
        abi::kernels();
        let before = abi::all_kernels().len();
        // SAFETY: the library's constructors only add kernels to the list.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            // SAFETY: a failed dlopen leaves a message, which lives until the next call of this thread.
            let message = unsafe { CStr::from_ptr(libc::dlerror()) };
            return Err(failed(&message.to_string_lossy()));
        }
        let mut kernels = abi::all_kernels();
        // The newest come first.
        kernels.truncate(kernels.len() - before);
        kernels.reverse();
        Ok(Box::leak(Box::new(Library { kernels })))
    }

    /// The names of its kernels, in the order of the source.
    pub fn kernel_names(&self) -> Vec<&'static str> {
        self.kernels.iter().map(|kernel| kernel.name()).collect()
    }

    /// A kernel's parameters; `None` if there is no such kernel.
    #[cfg(feature = "cli")]
    pub fn parameters(&self, kernel: &str) -> Option<Vec<Parameter>> {
        let kernel = self.kernel(kernel)?;
        let kinds = kernel.kinds().iter().map(|kind| ArgumentKind(*kind));
        let declarations = kernel.parameter_names().into_iter().zip(kernel.declarations());
        let parameter = |((name, declaration), kind)| Parameter { name, declaration, kind };
        Some(declarations.zip(kinds).map(parameter).collect())
    }

    /// The place of a kernel's definition, `FILE:LINE`.
    pub fn place(&self, kernel: &str) -> Option<String> {
        self.kernel(kernel).map(Kernel::place)
    }

    pub(super) fn kernel(&self, name: &str) -> Option<&'static Kernel> {
        self.kernels.iter().copied().find(|kernel| kernel.name() == name)
    }
}

/// A parameter of a kernel.
#[cfg(feature = "cli")]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its declaration in the source.
    pub declaration: &'static str,
    /// Its class and size.
    pub(crate) kind: ArgumentKind,
}

impl PartialEq for Library {
    fn eq(&self, other: &Library) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Library {}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Library").field(&self.kernel_names()).finish()
    }
}
