//! Image files of every kind, as torchvision's evaluation transform gives them to a model.

use std::collections::BTreeMap;
use std::fs;

use alrao::data::{Content, Inputs, Kind, load};
use safetensors::SafeTensors;

use crate::place::source;

/// Files by name, and `[32, 32, 3]` bytes that torchvision makes of each.
pub(crate) fn files() -> BTreeMap<String, (Vec<u8>, Vec<u8>)> {
    let bytes = fs::read(source().join("tests/golden/images.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = |name: &str| tensors.tensor(name).unwrap().data().to_vec();
    let names = tensors.names();
    let files = names.iter().filter_map(|name| name.strip_prefix("file."));
    let pair = |name: &str| (data(&format!("file.{name}")), data(&format!("view.{name}")));
    files.map(|name| (name.to_owned(), pair(name))).collect()
}

/// WebP, GIF and BMP files by name.
#[cfg(all(feature = "cli", unix))]
pub(crate) fn formats() -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(source().join("tests/golden/formats.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let names = tensors.names().into_iter();
    let files = names.filter_map(|name| Some((name, name.strip_prefix("file.")?)));
    files.map(|(full, name)| (name.into(), tensors.tensor(full).unwrap().data().to_vec())).collect()
}

#[test]
fn images_are_seen_as_torchvision_sees_them() {
    let (folder, files) = (tempfile::tempdir().unwrap(), files());
    let class = folder.path().join("train/class");
    fs::create_dir_all(&class).unwrap();
    for (name, (bytes, _)) in &files {
        fs::write(class.join(name), bytes).unwrap();
    }
    let dataset = load(folder.path().to_str().unwrap(), Kind::Arrays, 0.0).unwrap();
    assert!(dataset.notes().is_empty(), "{:?}", dataset.notes());
    let Content::Arrays(arrays) = dataset.content else { panic!("no arrays") };
    assert_eq!(arrays.train.len(), files.len());
    let Inputs::Bytes(images) = arrays.train.gather(0..files.len()).inputs else {
        panic!("no bytes")
    };
    for ((name, (_, view)), image) in files.iter().zip(images.chunks_exact(32 * 32 * 3)) {
        let errors: Vec<u8> =
            image.iter().zip(view).map(|(own, other)| own.abs_diff(*other)).collect();
        let mean = errors.iter().map(|error| f64::from(*error)).sum::<f64>() / 3072.0;
        // Decoders of JPEG round, and smooth colours, in their own ways.
        let (most, mean_most) = if name.ends_with(".jpg") { (10, 1.5) } else { (2, 0.6) };
        let largest = errors.iter().max().unwrap();
        assert!(*largest <= most && mean <= mean_most, "{name}: {largest}, in the mean {mean}");
    }
}
