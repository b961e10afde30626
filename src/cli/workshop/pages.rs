//! The pages of `alrao workshop ladder --html`.

use std::fs;
use std::path::{Path, PathBuf};

use super::run::made;
use crate::cli::arguments::new_file;
use crate::cli::messages;
use alrao::bench::estimate::gpus::GpuModel;
use alrao::error::Error;
use alrao::workshop::Versions;
use alrao::workshop::page::{LadderRung, kernel_page, ladder_page, page_name};

/// A folder of pages that may be written.
pub(super) struct Pages {
    folder: PathBuf,
    force: bool,
}

impl Pages {
    /// The pages of a ladder in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// If one of them is there without `force`.
    pub fn new(folder: &Path, ladder: &Versions, force: bool) -> anyhow::Result<Pages> {
        fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
        let pages = Pages { folder: folder.to_owned(), force };
        for name in ["index.html".to_owned()].into_iter().chain(ladder.files.iter().map(page_name))
        {
            new_file("html", &pages.folder.join(name), &[], force)?;
        }
        Ok(pages)
    }

    /// Writes the ladder's page and those of its versions.
    pub fn write(
        &self,
        ladder: &Versions,
        rungs: &[LadderRung],
        gpu: &GpuModel,
        quiet: bool,
    ) -> anyhow::Result<()> {
        let made = made(&format!("ladder {}", ladder.name));
        let index = self.folder.join("index.html");
        let own = new_file("html", &index, &[], self.force)?;
        own.write(ladder_page(ladder, rungs, gpu, &made).as_bytes())?;
        for LadderRung { file, report, .. } in rungs {
            let own = new_file("html", &self.folder.join(page_name(file)), &[], self.force)?;
            own.write(kernel_page(file, report, gpu, &made).as_bytes())?;
        }
        if !quiet {
            messages::note(&format!("written {}", index.display()));
        }
        Ok(())
    }
}
