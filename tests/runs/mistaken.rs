//! Files that are whole but not the right ones: another run's model, data on another scale, links that lead nowhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use safetensors::tensor::Dtype;

use super::readers::write_pictures;
use super::{
    INPUTS, MLP, ends_with, files, floats, labels, part, split, write_tensors, write_text,
    write_vectors,
};
use crate::command_line::refused;

#[test]
fn another_run_s_best_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    ends_with(0, folder, &format!("{MLP} --epochs 4 --out run"));
    ends_with(0, folder, &format!("{MLP} --epochs 4 --seed 9 --out seed"));
    ends_with(0, folder, &format!("{MLP} --epochs 1 --out short"));
    let wider = MLP.replace("--hidden 16", "--hidden 12");
    ends_with(0, folder, &format!("{wider} --epochs 4 --out wider"));
    let best = folder.join("run/best.safetensors");
    let own = fs::read(&best).unwrap();
    for other in ["seed", "short", "wider"] {
        fs::copy(folder.join(other).join("best.safetensors"), &best).unwrap();
        let contents = || files(&folder.join("run")).iter().flat_map(fs::read).collect::<Vec<_>>();
        let before = contents();
        let culprit = "best.safetensors: is not the best model of this run";
        refused(folder, &split("train --resume run --epochs 6"), culprit);
        assert!(before == contents(), "{other}");
    }
    fs::write(&best, own).unwrap();
    ends_with(0, folder, "train --resume run --epochs 6");
}

/// Images `[N, 1, 8, 8]` of two classes, as bytes.
fn bytes(samples: usize, of_pixel: impl Fn(usize) -> u8) -> (String, Dtype, Vec<usize>, Vec<u8>) {
    let pixels = (0..samples * 64).map(|pixel| of_pixel(pixel * 7919 % 256)).collect();
    ("images".into(), Dtype::U8, vec![samples, 1, 8, 8], pixels)
}

#[test]
fn data_on_another_scale_is_remarked_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let classes = |samples: usize| -> Vec<i64> { (0..samples as i64).map(|own| own % 2).collect() };
    let data = folder.join("data.safetensors");
    let train = "train --model mlp --hidden 8 --epochs 1 --data data.safetensors";
    let told = |command: &str, is_told: bool| {
        let (_, stderr) = ends_with(0, folder, command);
        let remark = "are they on the same scale?";
        assert_eq!(stderr.contains(remark), is_told, "{command}: {stderr}");
    };
    // Bytes that use a part of their range, and floats in other ranges.
    write_tensors(&data, &[bytes(60, |own| own as u8), labels("labels", &classes(60))]);
    told(&format!("{train} --out bytes"), false);
    told("eval bytes --split valid", false);
    for (name, part_of) in [("half", 2), ("quarter", 4), ("bit", 255)] {
        let images = bytes(200, |own| (own / part_of) as u8);
        let other = folder.join(name).with_extension("safetensors");
        write_tensors(&other, &[images, labels("labels", &classes(200))]);
        told(&format!("eval bytes --split valid --data {name}.safetensors"), true);
    }
    let pixels = |samples: usize, factor: f32, summand: f32| {
        let value = |pixel: usize| factor * (pixel * 7919 % 256) as f32 / 255.0 + summand;
        let values: Vec<f32> = (0..samples * 64 * 3).map(value).collect();
        floats("images", &[samples, 3, 8, 8], &values)
    };
    write_tensors(&data, &[pixels(60, 1.0, 0.0), labels("labels", &classes(60))]);
    told(&format!("{train} --out floats"), false);
    told("eval floats --split valid", false);
    for (name, factor, summand) in [("signed", 2.0, -1.0), ("dark", 0.5, 0.0)] {
        let other = folder.join(name).with_extension("safetensors");
        let tensors = [pixels(200, factor, summand), labels("labels", &classes(200))];
        write_tensors(&other, &tensors);
        told(&format!("eval floats --split valid --data {name}.safetensors"), true);
    }
    // Targets, of a part and of other data.
    let targets = |name: &str, factor: f32| {
        let values: Vec<f32> = (0..80).map(|own| factor * (own * 37 % 80) as f32).collect();
        floats(name, &[80, 1], &values)
    };
    let inputs = |prefix: &str| part(prefix, 80, 0)[0].clone();
    let write = |factor: f32| {
        let valid = [inputs("valid_"), targets("valid_targets", factor)];
        write_tensors(&data, &[&[inputs(""), targets("targets", 1.0)][..], &valid].concat());
    };
    write(1.0);
    told(&format!("{train} --out values"), false);
    write(1000.0);
    told(&format!("{train} --out far"), true);
    told("eval values --split valid --data data.safetensors", true);
}

#[test]
fn marks_of_missing_values_are_remarked_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for count in [0, 1, 3, 20] {
        let [inputs, labels] = part("", 300, 0);
        let mut values: Vec<f32> =
            inputs.3.chunks(4).map(|own| f32::from_le_bytes(own.try_into().unwrap())).collect();
        (0..count).for_each(|number| values[(2 + 7 * number) * INPUTS + 1] = -999_999.0);
        let inputs = floats("inputs", &[300, INPUTS], &values);
        write_tensors(&folder.join("data.safetensors"), &[inputs, labels]);
        let (_, stderr) =
            ends_with(0, folder, &format!("{MLP} --epochs 1 --valid-split 0 --out run{count}"));
        assert_eq!(stderr.contains("missing value"), count > 0, "{count}: {stderr}");
    }
}

#[test]
fn classes_with_names_on_one_side_are_remarked_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_pictures(folder, 10);
    let train = "train --model mlp --hidden 8 --epochs 1 --batch-size 4";
    ends_with(0, folder, &format!("{train} --data pictures --image-size 8 --out named"));
    let images = ("images".to_owned(), Dtype::U8, vec![40, 3, 8, 8], vec![7; 40 * 192]);
    let classes: Vec<i64> = (0..40).map(|own| own % 2).collect();
    let data = folder.join("numbers.safetensors");
    write_tensors(&data, &[images, labels("labels", &classes)]);
    ends_with(0, folder, &format!("{train} --data numbers.safetensors --out numbered"));
    for (run, data) in [("named", "numbers.safetensors"), ("numbered", "pictures")] {
        let (_, stderr) = ends_with(0, folder, &format!("eval {run} --split valid --data {data}"));
        let told = "only numbers: class 0 is 'a', 1 is 'b' (sorted by name)";
        assert!(stderr.contains(told), "{run}: {stderr}");
    }
    let (_, stderr) = ends_with(0, folder, "eval named --split valid");
    assert!(!stderr.contains("only numbers"), "{stderr}");
}

#[test]
fn links_that_lead_nowhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_pictures(folder, 10);
    let pictures = "train --model mlp --hidden 8 --data pictures --image-size 8 --out run";
    let text = "train --model char-lstm --width 0.1 --batch-size 4 --data text --out run";
    fs::create_dir(folder.join("text")).unwrap();
    write_text(folder, 2000);
    fs::rename(folder.join("text.txt"), folder.join("text/train.txt")).unwrap();
    let in_place = |link: &str, command: &str| {
        let link = folder.join(link);
        symlink("nowhere", &link).unwrap();
        refused(folder, &split(command), "is a link that leads nowhere");
        fs::remove_file(&link).unwrap();
        assert!(!folder.join("run").exists());
    };
    for link in ["valid", "test", "train/c"] {
        in_place(&Path::new("pictures").join(link).to_string_lossy(), pictures);
    }
    for link in ["text/valid.txt", "text/test.txt"] {
        in_place(link, text);
    }
    fs::write(folder.join("pictures/valid"), "").unwrap();
    refused(folder, &split(pictures), "is a file, not a folder");
}

#[test]
fn a_text_of_one_character_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("text.txt"), "a".repeat(3000)).unwrap();
    let train = "train --model char-lstm --width 0.1 --batch-size 4 --data text.txt --out run";
    refused(folder, &split(train), "all characters of the training text are the same");
    assert!(!folder.join("run").exists());
}
