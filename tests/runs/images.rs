//! Folders of images: what is in them is found, reported, learnt from, and gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use safetensors::tensor::SafeTensors;

use super::{assert_same, ends_with, files, signal, split, start, wait_for};
use crate::command_line::{alrao, refused, text};
use crate::golden::images::files as every_kind;

const CLASSES: [&str; 2] = ["äpfel und birnen", "b"];

/// An image whose class is in its colours, and its number in its extents and pixels.
fn write_image(path: &Path, class: usize, number: u32) {
    let image = RgbImage::from_fn(20 + number % 5, 17 + number % 7, |x, y| {
        let noise = (x * 7 + y * 13 + number * 31) % 60;
        let mut pixel = [noise as u8, 90, 90];
        pixel[class + 1] += 100 + (noise / 2) as u8;
        pixel.into()
    });
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

/// So many images of each class in a part of `pictures`.
fn write_part(folder: &Path, part: &str, count: u32) {
    for (class, name) in CLASSES.iter().enumerate() {
        for number in 0..count {
            let ending = ["png", "jpg", "JPEG"][number as usize % 3];
            let name = format!("pictures/{part}/{name}/{number:02}.{ending}");
            write_image(&folder.join(name), class, number + if part == "train" { 0 } else { 50 });
        }
    }
}

const TRAIN: &str =
    "train --data pictures --width 0.1 --image-size 8 --batch-size 4 --log-every 1 --eta-max 1";

fn write_broken(class: &Path) {
    let kinds = every_kind();
    let whole = &kinds["wide.jpg"].0;
    fs::write(class.join("cut.jpg"), &whole[..whole.len() / 2]).unwrap();
    fs::write(class.join("text.jpg"), "no image at all").unwrap();
    fs::write(class.join("nothing.png"), "").unwrap();
}

/// Whole at both ends, with pixels that no decoder understands.
fn write_damaged(path: &Path) {
    let mut bytes = every_kind()["tall.png"].0.clone();
    let middle = bytes.len() / 2;
    bytes[middle - 40..middle + 40].fill(0x55);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_folder_with_all_that_folders_have_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_part(folder, "train", 10);
    let place = |name: &str| folder.join("pictures/train").join(name);
    let class = place(CLASSES[0]);
    write_broken(&class);
    for (name, (bytes, _)) in every_kind() {
        fs::write(class.join(name), bytes).unwrap();
    }
    fs::create_dir(place("leer")).unwrap();
    fs::create_dir(place(".hidden")).unwrap();
    fs::write(class.join("notes.txt"), "of another ending").unwrap();
    // Links to a file, to a folder, and back to where it lies.
    fs::create_dir(place("c")).unwrap();
    write_image(&folder.join("elsewhere/deep/a.png"), 0, 3);
    std::os::unix::fs::symlink(folder.join("elsewhere/deep/a.png"), place("c/file.png")).unwrap();
    std::os::unix::fs::symlink(folder.join("elsewhere"), place("c/folder")).unwrap();
    std::os::unix::fs::symlink(place("c"), place("c/loop")).unwrap();

    let (stdout, stderr) = ends_with(0, folder, &format!("{TRAIN} --epochs 2 --out run"));
    assert!(stdout.contains("best  epoch"), "{stdout}");
    // Two classes of 10, ten kinds, two links; a fifth of each class, rounded down.
    assert!(stderr.contains("pictures: 26 train, 6 valid images of 8x8x3"), "{stderr}");
    assert!(stderr.contains("3 of 35 images are broken and left out:"), "{stderr}");
    for line in [
        "pictures/train/äpfel und birnen/cut.jpg: is cut short: its end is missing",
        "pictures/train/äpfel und birnen/text.jpg: is none of JPEG, PNG, WebP, GIF and BMP",
        "pictures/train/äpfel und birnen/nothing.png: is empty",
        "pictures/train/leer has no images",
    ] {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
    assert!(!stderr.contains("grey") && !stderr.contains("cmyk") && !stderr.contains("warning"));
    let config = fs::read_to_string(folder.join("run/config.toml")).unwrap();
    assert!(config.contains("image_size = 8"), "{config}");
    let bytes = fs::read(folder.join("run/best.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let record: serde_json::Value =
        serde_json::from_str(&metadata.metadata().as_ref().unwrap()["alrao"]).unwrap();
    // Sorted by bytes.
    assert_eq!(
        record["model"]["classes"],
        serde_json::json!(["b", "c", "leer", "äpfel und birnen"])
    );
    assert_eq!(record["model"]["normalisation"][0], serde_json::json!([0.485, 0.456, 0.406]));
    assert_eq!(ends_with(0, folder, &format!("-q {TRAIN} --epochs 1 --out quiet")).1, "");
    let (stdout, stderr) =
        ends_with(0, folder, "eval run --split valid --predictions out.safetensors");
    assert!(
        stdout.contains("6 samples") && stderr.contains("3 of 35 images are broken"),
        "{stderr}"
    );
}

#[test]
fn what_is_learnt_from_a_folder_is_evaluated_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_part(folder, "train", 12);
    write_part(folder, "val", 4);
    write_part(folder, "test", 6);
    let (stdout, stderr) = ends_with(0, folder, &format!("{TRAIN} --epochs 6 --out run"));
    assert!(stderr.contains("pictures: 24 train, 8 valid, 12 test images of 8x8x3"), "{stderr}");
    assert!(stdout.contains("test  loss"), "{stdout}");
    // One class of the two, whose number there is another.
    let other = folder.join("other");
    let own = |part: &str| folder.join("pictures").join(part).join("b");
    for part in ["train", "test"] {
        fs::create_dir_all(other.join(part)).unwrap();
        std::os::unix::fs::symlink(own(part), other.join(part).join("b")).unwrap();
    }
    let evaluate = |data: &str| -> (f64, Vec<f32>) {
        let arguments =
            format!("eval run --data {data} --json --force --predictions out.safetensors");
        let (stdout, _) = ends_with(0, folder, &arguments);
        let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let bytes = fs::read(folder.join("out.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let view = tensors.tensor("log_probabilities").unwrap();
        assert_eq!(view.shape(), [report["samples"].as_u64().unwrap() as usize, 2]);
        let floats = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        (report["accuracy"].as_f64().unwrap(), floats.collect())
    };
    let ((accuracy, all), (accuracy_of_b, of_b)) = (evaluate("pictures"), evaluate("other"));
    // In file order: b comes first.
    assert_eq!(of_b, all[..of_b.len()]);
    assert!(accuracy > 0.8 && accuracy_of_b > 0.6, "{accuracy}, {accuracy_of_b}");
    // Each image with its class.
    let (csv, _) = ends_with(0, folder, "-q predict run --split test --csv");
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((lines.len(), &lines[0][..3]), (13, &["file", "true", "class"][..]));
    let is_class = |own: &&Vec<&str>| own[0].starts_with(&format!("test/{}/", own[1]));
    assert!(lines[1..].iter().all(|own| is_class(&own)), "{csv}");
    let right = lines[1..].iter().filter(|own| own[1] == own[2]).count();
    assert_eq!(right as f64 / 12.0, accuracy);
    fs::create_dir_all(other.join("train/c")).unwrap();
    refused(
        folder,
        &split("eval run --data other"),
        "has the class 'c', the model knows 'b', 'äpfel und birnen'",
    );
}

#[test]
fn a_killed_run_on_images_goes_on_to_the_bit_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_part(folder, "train", 24);
    write_damaged(&folder.join("pictures/train/b/damaged.png"));
    let arguments = format!("{TRAIN} --augment --epochs 5");
    let (_, stderr) = ends_with(0, folder, &format!("{arguments} --threads 1 --out alone"));
    let told: Vec<&str> = stderr.lines().filter(|line| line.contains("damaged.png")).collect();
    assert!(
        told.len() == 1 && told[0].contains("an image of the mean colour replaces it"),
        "{stderr}"
    );
    ends_with(0, folder, &format!("{arguments} --threads 3 --out more"));
    assert_same(&folder.join("alone"), &folder.join("more"));
    let run = folder.join("run");
    for (command, mark, name) in [
        (format!("{arguments} --threads 2 --out run"), "\"step\":14,", "INT"),
        ("train --resume run --threads 3".into(), "\"step\":33,", "KILL"),
    ] {
        let mut child = start(folder, &command);
        wait_for(&run, |metrics| metrics.contains(mark));
        signal(&child, name);
        child.wait().unwrap();
    }
    ends_with(0, folder, "train --resume run --threads 1");
    assert_same(&run, &folder.join("alone"));
    fs::remove_file(folder.join("pictures/train/b/03.png")).unwrap();
    refused(
        folder,
        &split("train --resume run --epochs 9"),
        "is not the data this run was started on",
    );
}

#[test]
fn more_than_a_few_damaged_images_end_a_run_and_what_it_learnt_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_part(folder, "train", 12);
    (0..11).for_each(|number| {
        write_damaged(&folder.join(format!("pictures/train/b/damaged-{number:02}.png")));
    });
    let (_, stderr) = ends_with(1, folder, &format!("{TRAIN} --out run"));
    let expected = "11 of 35 images are broken, more than 1 % of them";
    assert!(stderr.contains(expected) && stderr.contains("damaged-09.png"), "{stderr}");
    assert!(folder.join("run/last.safetensors").is_file());
}

#[test]
fn folders_that_are_at_fault() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pictures = folder.join("pictures");
    let make = |name: &str| fs::create_dir_all(pictures.join(name)).unwrap();
    let train = format!("{TRAIN} --model cnn --out run");
    let refuses = |arguments: &str, culprits: &[&str]| {
        culprits.iter().for_each(|culprit| refused(folder, &split(arguments), culprit));
        let is_run = |path: &PathBuf| path.ends_with("run");
        assert!(!files(folder).iter().any(is_run), "{arguments}");
    };
    fs::create_dir(&pictures).unwrap();
    refuses(
        &train,
        &["pictures/*.bin and pictures/cifar-10-batches-bin/*.bin", "pictures/train/CLASS/*.jpg"],
    );
    fs::write(pictures.join("train.txt"), "words").unwrap();
    refuses(&train, &["its train.txt is a text"]);
    make("train");
    refuses(&train, &["pictures/train: has no folders"]);
    refuses("train --model char-lstm --data pictures/train --out run", &["no text here"]);
    make("train/b");
    refuses(&train, &["the train part has no images"]);
    write_part(folder, "train", 10);
    make("valid/b");
    refuses(&train, &["the valid part has no images"]);
    write_part(folder, "valid", 1);
    make("valid/zebra");
    refuses(
        &train,
        &[
            "pictures/valid/zebra: is a class that train does not have; it has 'b', 'äpfel und birnen'",
        ],
    );
    fs::remove_dir(pictures.join("valid/zebra")).unwrap();
    make("val");
    refuses(&train, &["both valid and val"]);
    fs::remove_dir(pictures.join("val")).unwrap();
    refuses(
        "train --data pictures --model vgg11 --image-size 64 --batch-size 4 --out run",
        &["32 by 32", "64x64x3"],
    );
    refuses("train --image-size 64 --out run", &["--image-size", "--data generated"]);
    refuses("train --model char-lstm --image-size 64 --out run", &["--image-size", "char-lstm"]);
    refuses(&format!("{train} --image-size 0").replace("--image-size 8 ", ""), &["from 1 to 4096"]);
    for number in 0..11 {
        fs::write(pictures.join(format!("train/b/text-{number:02}.jpg")), "no image").unwrap();
    }
    refuses(
        &train,
        &[
            "pictures: 11 of 33 images are broken, more than 1 %",
            "text-09.jpg: is none of JPEG, PNG, WebP, GIF and BMP",
        ],
    );
    let output = alrao(folder, &split(&train));
    assert!(!text(&output.stderr).contains("text-10.jpg"));
}

/// Two classes, and an empty folder; broken files and a damaged image hide in one of them.
#[test]
fn an_experiment_tells_what_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_part(folder, "train", 12);
    let class = folder.join("pictures/train").join(CLASSES[1]);
    write_broken(&class);
    write_damaged(&class.join("damaged.png"));
    fs::create_dir(folder.join("pictures/train/leer")).unwrap();
    let command =
        "experiment posterior --quick --data pictures --width 0.1 --epochs 1 --seeds 2 --out out";
    let (stdout, stderr) = ends_with(0, folder, command);
    for line in [
        "data    3 of 28 images are broken and left out:",
        "cut.jpg: is cut short",
        "text.jpg: is none of JPEG, PNG, WebP, GIF and BMP",
        "nothing.png: is empty",
        "pictures/train/leer has no images",
        "device  cpu: ",
    ] {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
    assert_eq!(stderr.matches("an image of the mean colour replaces it").count(), 1, "{stderr}");
    let report = fs::read_to_string(folder.join("out/report.html")).unwrap();
    for text in [&stdout, &report] {
        assert!(text.contains("Of the data, 3 of 28 images are broken and left out."), "{text}");
        assert!(text.contains("an image of the mean colour: 1."), "{text}");
    }
    // 21 images, cut at the size that the model was made for.
    let alexnet =
        command.replace("--width 0.1", "--row imagenet/alexnet").replace("--seeds 2", "--seeds 1");
    let (stdout, _) = ends_with(0, folder, &alexnet.replace("--out out", "--out alexnet"));
    assert!(stdout.contains("alexnet on pictures: seed 0"), "{stdout}");
    let whole = alexnet.replace("--quick ", "").replace("--out out", "--out whole");
    let (_, stderr) = ends_with(2, folder, &whole);
    assert!(stderr.contains("--row imagenet/alexnet: takes 256 samples a step"), "{stderr}");
}

#[test]
fn a_size_that_the_model_does_not_take_is_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    write_part(folder.path(), "train", 3);
    let train = "train --model vgg11 --data pictures --image-size 64 --batch-size 2";
    refused(folder.path(), &split(train), "are resized to --image-size: give 32, or leave it out");
}
