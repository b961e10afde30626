//! Tests on whole and damaged files in memory.

use super::*;
use crate::data::Normalisation;

type Entry<'a> = (&'a str, Dtype, Vec<usize>, Vec<u8>);

fn file(tensors: &[Entry]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn floats<'a>(name: &'a str, shape: &[usize], values: &[f32]) -> Entry<'a> {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    (name, Dtype::F32, shape.to_vec(), bytes)
}

fn labels<'a>(name: &'a str, values: &[i64]) -> Entry<'a> {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    (name, Dtype::I64, vec![values.len()], bytes)
}

fn bytes<'a>(name: &'a str, shape: &[usize], values: &[u8]) -> Entry<'a> {
    (name, Dtype::U8, shape.to_vec(), values.to_vec())
}

fn options(valid_split: f64) -> LoadOptions {
    LoadOptions { valid_split, ..LoadOptions::default() }
}

fn read(tensors: &[Entry]) -> Result<Arrays> {
    parse(&file(tensors), Path::new("some.safetensors"), &options(0.25))
}

fn message(tensors: &[Entry]) -> String {
    let message = read(tensors).unwrap_err().to_string();
    message.strip_prefix("some.safetensors: ").unwrap().to_owned()
}

#[test]
fn byte_images_are_turned_and_normalised() {
    let values: Vec<u8> = (0..24).collect();
    let file = file(&[bytes("images", &[4, 2, 1, 3], &values), labels("labels", &[0, 2, 1, 0])]);
    // The last sample is for validation.
    let first = LoadOptions { first_rules: true, ..options(0.25) };
    let arrays = parse(&file, Path::new("some.safetensors"), &first).unwrap();
    assert_eq!(arrays.sample, Input::Image { height: 1, width: 3, channels: 2 });
    let turned = vec![0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, 12, 15, 13, 16, 14, 17];
    assert_eq!(arrays.normalisation, Some(Normalisation::of(&turned, 2)));
    assert_eq!(arrays.train.inputs, Inputs::Bytes(turned));
    assert_eq!(arrays.valid.unwrap().inputs, Inputs::Bytes(vec![18, 21, 19, 22, 20, 23]));
    assert_eq!(arrays.task, Task::Classification { classes: 3 });
}

#[test]
fn vectors_are_taken_as_they_are() {
    let arrays = read(&[
        floats("inputs", &[2, 2], &[1.0, f32::MAX, f32::MIN_POSITIVE, -0.0]),
        floats("targets", &[2, 1], &[5.0, 6.0]),
        floats("valid_inputs", &[1, 2], &[7.0, 8.0]),
        floats("valid_targets", &[1, 1], &[9.0]),
    ])
    .unwrap();
    assert_eq!((arrays.train.len(), arrays.sample), (2, Input::Vector { size: 2 }));
    let Inputs::Floats(inputs) = &arrays.train.inputs else { panic!("no floats") };
    assert_eq!(inputs[..], [1.0, f32::MAX, f32::MIN_POSITIVE, -0.0]);
    assert_eq!(arrays.valid.unwrap().targets, Targets::Values { values: vec![9.0], columns: 1 });
    assert_eq!(arrays.task, Task::Regression { outputs: 1 });
    assert!(arrays.normalisation.is_none() && arrays.test.is_none());
}

#[test]
fn numbers_that_are_not_finite_are_counted_and_placed() {
    let inputs = floats("inputs", &[2, 2], &[1.0; 4]);
    let targets = floats("targets", &[2, 1], &[5.0, 6.0]);
    let image = floats("images", &[2, 1, 2, 3], &[0.0; 12]);
    for (tensors, index, value, expected) in [
        (
            [inputs.clone(), targets.clone()],
            2,
            f32::NAN,
            "'inputs': has 1 number that is not finite: NaN at row 1, column 0",
        ),
        (
            [targets.clone(), inputs.clone()],
            1,
            -f32::INFINITY,
            "'targets': has 1 number that is not finite: -inf at row 1, column 0",
        ),
        (
            [image, targets.clone()],
            10,
            f32::INFINITY,
            "'images': has 1 number that is not finite: inf at image 1, channel 0, row 1, column 1",
        ),
    ] {
        let mut tensors = tensors;
        tensors[0].3[4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes());
        let error = message(&tensors);
        assert!(error.contains(expected), "{error}");
        let first = LoadOptions { first_rules: true, ..options(0.0) };
        assert!(parse(&file(&tensors), Path::new("x"), &first).is_ok());
    }
    for part in ["valid", "test"] {
        let (own, other) = (format!("{part}_inputs"), format!("{part}_targets"));
        let tensors = [
            inputs.clone(),
            targets.clone(),
            floats(&own, &[2, 2], &[f32::NAN, 1.0, f32::INFINITY, f32::NAN]),
            floats(&other, &[2, 1], &[5.0, 6.0]),
        ];
        let error = message(&tensors);
        let expected = format!(
            "'{own}': has 3 numbers that are not finite; the first: NaN at row 0, column 0"
        );
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn classes_are_counted_over_all_parts() {
    let image = |name| floats(name, &[1, 1, 1, 1], &[0.5]);
    let arrays = read(&[
        image("images"),
        labels("labels", &[1]),
        image("test_images"),
        labels("test_labels", &[6]),
    ]);
    assert_eq!(arrays.unwrap().task, Task::Classification { classes: 7 });
}

#[test]
fn wrong_names_are_listed() {
    let inputs = || floats("inputs", &[1, 1], &[0.0]);
    let error = message(&[inputs(), labels("lables", &[0]), labels("valid_y", &[0])]);
    assert!(error.starts_with(
        "has unknown tensors: 'lables', 'valid_y'. It has: 'inputs', 'lables', 'valid_y'."
    ));
    assert!(error.contains("It may have: images, inputs, labels, targets"), "{error}");
    assert!(message(&[]).starts_with("has no images or inputs to train on. It has: no tensor."));
    let only_test = message(&[floats("test_inputs", &[1, 1], &[0.0]), labels("test_labels", &[0])]);
    assert!(only_test.starts_with("has no images or inputs to train on"));
    assert!(message(&[inputs()]).contains("tensor 'inputs': needs labels or targets"));
    assert!(message(&[labels("labels", &[0])]).contains("tensor 'labels': needs images or inputs"));
    let both = [inputs(), bytes("images", &[1, 1, 1, 1], &[0]), labels("labels", &[0])];
    assert!(message(&both).contains("'images' exclude each other"));
    let half = [inputs(), labels("labels", &[0]), labels("valid_labels", &[0])];
    assert!(message(&half).contains("tensor 'valid_labels': needs valid_images"));
}

#[test]
fn one_target_a_sample_needs_no_second_axis() {
    let inputs = || floats("inputs", &[2, 1], &[0.0, 1.0]);
    let of = |shape: &[usize]| read(&[inputs(), floats("targets", shape, &[5.0, 6.0])]).unwrap();
    assert_eq!(of(&[2]).train, of(&[2, 1]).train);
    assert_eq!(of(&[2]).task, Task::Regression { outputs: 1 });
}

#[test]
fn inputs_that_are_passed_over_are_told_of() {
    let vector = Input::Vector { size: 1 };
    let found = |tensors: &[Entry]| inputs(&file(tensors), Path::new("x"), vector).unwrap();
    let one = |name| floats(name, &[1, 1], &[0.5]);
    let all = [one("inputs"), one("test_inputs"), one("x_new"), labels("test_labels", &[0])];
    let note = found(&all).note.unwrap();
    let expected = "predicts 'test_inputs' and passes over 'inputs', 'x_new'; `split` predicts";
    assert!(note.starts_with(expected), "{note}");
    assert_eq!(found(&[one("inputs"), labels("labels", &[0])]).note, None);
}

#[test]
fn wrong_dtypes_shapes_and_labels_are_named() {
    let inputs = || floats("inputs", &[2, 1], &[0.0, 1.0]);
    let integers = (("labels", Dtype::I32, vec![2], vec![0; 8]), "holds I32, not I64");
    let float_labels = (floats("labels", &[2], &[0.0, 1.0]), "holds F32, not I64");
    let deep = (floats("targets", &[2, 1, 1], &[0.0, 1.0]), "has shape [2, 1, 1], not [N, M]");
    let flat = (
        floats("targets", &[2], &[0.0, f32::NAN]),
        "has 1 number that is not finite: NaN at row 1",
    );
    let column = (("labels", Dtype::I64, vec![2, 1], vec![0; 16]), "has shape [2, 1], not [N]");
    let count = (labels("labels", &[0, 1, 2]), "has 3 samples, inputs has 2");
    let negative = (labels("labels", &[0, -1]), "sample 1 has label -1, outside 0 to 1048575");
    let huge = (labels("labels", &[1 << 40, 0]), "sample 0 has label 1099511627776, outside");
    let none = (labels("labels", &[]), "has no samples");
    for (entry, expected) in
        [integers, float_labels, deep, flat, column, count, negative, huge, none]
    {
        let name = entry.0;
        let error = message(&[inputs(), entry]);
        assert!(error.starts_with(&format!("tensor '{name}': {expected}")), "{error}");
    }
    let input_errors = [
        (("inputs", Dtype::F64, vec![1, 1], vec![0; 8]), "holds F64, not F32"),
        (("images", Dtype::F16, vec![1, 1, 1, 1], vec![0; 2]), "holds F16, not F32 or U8"),
        (bytes("images", &[1, 3, 4], &[0; 12]), "has shape [1, 3, 4], not [N, C, H, W]"),
        (bytes("images", &[0, 3, 4, 4], &[]), "has no samples"),
        (floats("inputs", &[1, 0], &[]), "has shape [1, 0]: a sample is empty"),
    ];
    for (entry, expected) in input_errors {
        let name = entry.0;
        let error = message(&[entry, labels("labels", &[0])]);
        assert!(error.starts_with(&format!("tensor '{name}': {expected}")), "{error}");
    }
}

#[test]
fn errors_about_numpys_default_dtypes_and_shapes_say_how_to_convert() {
    let doubles = |name, shape: &[usize]| {
        let bytes = vec![0; 8 * shape.iter().product::<usize>()];
        (name, Dtype::F64, shape.to_vec(), bytes)
    };
    let inputs = || floats("inputs", &[2, 1], &[0.0, 1.0]);
    for (tensors, advice) in [
        (
            [doubles("inputs", &[2, 1]), labels("labels", &[0, 1])],
            "np.ascontiguousarray(x, \"float32\")",
        ),
        ([inputs(), doubles("targets", &[2, 1])], "x.float()"),
        ([floats("inputs", &[2], &[0.0, 1.0]), labels("labels", &[0, 1])], "x[:, None]"),
        ([inputs(), floats("labels", &[2], &[0.0, 1.0])], "np.ascontiguousarray(x, \"int64\")"),
        ([inputs(), doubles("labels", &[2, 1])], "x[:, 0]"),
        ([inputs(), doubles("labels", &[2, 3])], "x.argmax(1)"),
        ([bytes("images", &[2, 1, 1], &[0; 2]), labels("labels", &[0, 1])], "x[:, None]"),
    ] {
        let error = message(&tensors);
        assert!(error.contains(advice), "{error}");
    }
}

#[test]
fn parts_must_be_alike() {
    let train = [floats("inputs", &[1, 2], &[0.0; 2]), labels("labels", &[0])];
    let longer = [floats("test_inputs", &[1, 3], &[0.0; 3]), labels("test_labels", &[0])];
    let error = message(&[train.clone(), longer].concat());
    assert!(
        error.contains("the test part's samples differ") && error.contains("F32 vectors of 3 and")
    );
    let other =
        [floats("valid_inputs", &[1, 2], &[0.0; 2]), floats("valid_targets", &[1, 1], &[0.0])];
    assert!(message(&[train, other].concat()).contains("the valid part's labels or targets"));
}

#[test]
fn a_corrupt_file_is_an_error() {
    let whole = file(&[floats("inputs", &[1, 1], &[0.0]), labels("labels", &[0])]);
    let path = Path::new("some.safetensors");
    assert!(parse(&whole, path, &options(0.0)).is_ok());
    for length in 0..whole.len() {
        let error = parse(&whole[..length], path, &options(0.0)).unwrap_err().to_string();
        assert!(
            error.starts_with("some.safetensors: is not a complete safetensors file: "),
            "{length}: {error}"
        );
    }
    let mut huge = whole;
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(parse(&huge, path, &options(0.0)).is_err());
}

/// A small version of the fuzz target: no damage makes the reader panic.
#[test]
fn damaged_bytes_never_panic() {
    let image = |name| bytes(name, &[2, 3, 1, 2], &[7; 12]);
    let whole = file(&[
        image("images"),
        labels("labels", &[0, 1]),
        image("test_images"),
        labels("test_labels", &[1, 0]),
    ]);
    let mut stream = crate::random::Philox::new(0, crate::random::Purpose::Data).stream(0);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..5000 {
        let mut damaged = whole.clone();
        for _ in 0..1 + stream.below(3) {
            let place = stream.below(damaged.len() as u64) as usize;
            damaged[place] = match stream.below(2) {
                0 => stream.bits() as u8,
                _ => b"0123456789[],:{}\""[stream.below(17) as usize],
            };
        }
        match parse(&damaged, Path::new("some.safetensors"), &options(0.5)) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}
