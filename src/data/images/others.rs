//! The files of a folder of images that are not decoded, counted by kind and reported once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

/// Endings of images. Most cannot be decoded; bmp, gif and webp are here for the first rules, which leave them out.
const IMAGES: [&str; 28] = [
    "arw", "avif", "bmp", "cr2", "cr3", "dng", "exr", "gif", "hdr", "heic", "heif", "ico", "j2k",
    "jfif", "jp2", "jxl", "nef", "orf", "pbm", "pgm", "pnm", "ppm", "psd", "svg", "tga", "tif",
    "tiff", "webp",
];

/// The most kinds that a message names.
const NAMED: usize = 10;

/// Files that are left out, by kind.
#[derive(Debug, Default)]
pub(in crate::data) struct Others {
    /// Images of other formats, by their ending.
    images: Counts,
    /// Files that are no images, by their ending.
    files: Counts,
    /// Pipes, sockets and devices.
    irregular: Counts,
    /// Images in the folder of a part or in the data's, outside the folders of classes.
    unclassed: usize,
    /// Folders beside those of the parts.
    folders: Vec<String>,
}

type Counts = BTreeMap<String, usize>;

impl Others {
    /// Adds a file by its name.
    pub fn add(&mut self, name: &OsStr) {
        let ending = Path::new(name).extension().map(|own| own.to_string_lossy().to_lowercase());
        let is_image = ending.as_deref().is_some_and(|own| IMAGES.contains(&own));
        let kind = ending.map_or_else(|| "without an ending".into(), |own| format!(".{own}"));
        let counts = if is_image { &mut self.images } else { &mut self.files };
        *counts.entry(kind).or_default() += 1;
    }

    /// Adds what is no regular file.
    pub fn add_irregular(&mut self, what: &str) {
        *self.irregular.entry(what.into()).or_default() += 1;
    }

    /// Adds an image of no class.
    pub fn add_unclassed(&mut self) {
        self.unclassed += 1;
    }

    /// Adds a folder beside those of the parts.
    pub fn add_folder(&mut self, name: &OsStr) {
        self.folders.push(name.to_string_lossy().into_owned());
        self.folders.sort();
    }

    /// Lines for a message; none if nothing was left out.
    pub fn notes(&self) -> Vec<String> {
        let several = |(what, &count): (&String, &usize)| {
            (if count > 1 { format!("{what}s") } else { what.clone() }, count)
        };
        let unclassed =
            (self.unclassed > 0).then(|| ("outside the class folders".into(), self.unclassed));
        let folders = (!self.folders.is_empty()).then(|| {
            format!(
                "folders not read: {}; only train, valid (or val) and test are",
                self.folders.join(", ")
            )
        });
        let irregular = self.irregular.iter().map(several).collect();
        let unclassed = unclassed.into_iter().collect();
        let left_out = [
            (&self.images, "not a format that can be decoded here; convert them to PNG"),
            (&self.files, "not images"),
            (&irregular, "only regular files are read"),
            (&unclassed, "an image's class is the folder it is in"),
        ]
        .into_iter()
        .filter(|(counts, _)| !counts.is_empty())
        .map(|(counts, why)| format!("{} left out: {why}", list(counts)));
        left_out.chain(folders).collect()
    }
}

/// The kinds with their counts, the most frequent first.
fn list(counts: &Counts) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    // Stable: equal counts stay in the order of the alphabet.
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let named = sorted.iter().take(NAMED).map(|(kind, count)| format!("{count} {kind}"));
    let rest: usize = sorted.iter().skip(NAMED).map(|(_, count)| **count).sum();
    named.chain((rest > 0).then(|| format!("{rest} of other kinds"))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted_by_kind() {
        let mut others = Others::default();
        assert!(others.notes().is_empty());
        for name in ["a.tif", "b.TIF", "c.heic", "x.txt", "Thumbs.db", "y.txt", "README"] {
            others.add(name.as_ref());
        }
        others.add_irregular("device");
        (0..2).for_each(|_| others.add_irregular("named pipe"));
        others.add_unclassed();
        assert_eq!(
            others.notes(),
            [
                "2 .tif, 1 .heic left out: not a format that can be decoded here; convert them to PNG",
                "2 .txt, 1 .db, 1 without an ending left out: not images",
                "2 named pipes, 1 device left out: only regular files are read",
                "1 outside the class folders left out: an image's class is the folder it is in",
            ]
        );
    }

    #[test]
    fn ten_kinds_are_named() {
        let mut others = Others::default();
        (0..13).for_each(|number| others.add(format!("file.{number:02}").as_ref()));
        let notes = others.notes();
        assert!(notes[0].contains("1 .09, 3 of other kinds left out"), "{}", notes[0]);
    }
}
