//! Declarations that Rust and CUDA repeat by hand: the structs that kernels take, and the constants that launches and kernels share.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::place::source;

/// Name, type and extents of a field. In both languages the offsets follow from these, in their order.
type Field = (String, String, Vec<u64>);

/// Rust's types with CUDA's names for them.
const TYPES: [(&str, &str); 7] = [
    ("u64", "uint64_t"),
    ("i64", "int64_t"),
    ("u32", "uint32_t"),
    ("i32", "int32_t"),
    ("f64", "double"),
    ("f32", "float"),
    ("Divisor", "Divisor"),
];

/// The text of a file's code without comments and attributes.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines
        .filter(|line| !line.trim_start().starts_with("#["))
        .fold(String::new(), |code, line| code + line + "\n")
}

/// All files below a folder with one of these endings, by their paths in the project.
fn files(folder: &str, endings: &[&str]) -> BTreeMap<String, String> {
    let (mut folders, mut found) = (vec![source().join(folder)], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|own| endings.iter().any(|ending| own == *ending))
            {
                let name = path.strip_prefix(source()).unwrap().to_str().unwrap().to_owned();
                found.insert(name, code(&path));
            }
        }
    }
    found
}

/// The text up to the bracket that closes one opened before the text.
fn up_to_closing(text: &str, [open, close]: [char; 2]) -> &str {
    let mut level = 0;
    let end = text.find(|c| {
        level += i32::from(c == open) - i32::from(c == close);
        level < 0
    });
    &text[..end.unwrap()]
}

/// Integer constants by name, each as its expression.
type Constants = BTreeMap<String, String>;

/// The integer constants of a file: `const NAME: type = value` in Rust, `const type NAME = value, ..` in CUDA.
fn constants(code: &str) -> Constants {
    let mut found = Constants::new();
    for statement in code.split([';', '{', '}']) {
        let Some((_, declared)) = statement.rsplit_once("const ") else { continue };
        let is_rust = declared.split('=').next().is_some_and(|names| names.contains(':'));
        let names = if is_rust { declared } else { declared.split_once(' ').unwrap_or_default().1 };
        for part in names.split(',') {
            let Some((name, value)) = part.split_once('=') else { continue };
            let name = name.split(':').next().unwrap().trim();
            found.insert(name.to_owned(), value.trim().to_owned());
        }
    }
    found
}

/// The value of an expression of numbers, names, products, quotients and shifts.
fn value(expression: &str, constants: &Constants) -> u64 {
    let expression = expression.replace(" as u64", "").replace(" as usize", "");
    if let Some((left, right)) = expression.split_once("<<") {
        return value(left, constants) << value(right, constants);
    }
    if let Some((left, right)) = expression.rsplit_once(['*', '/']) {
        let (left_value, right_value) = (value(left, constants), value(right, constants));
        let is_product = expression.as_bytes()[left.len()] == b'*';
        return if is_product { left_value * right_value } else { left_value / right_value };
    }
    let word = expression.trim();
    match word.parse() {
        Ok(number) => number,
        Err(_) => {
            let own = constants.get(word);
            value(own.unwrap_or_else(|| panic!("no constant '{word}'")), constants)
        }
    }
}

/// The fields of the struct whose body this is.
fn fields_in_rust(body: &str, constants: &Constants) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut rest = body;
    while let Some((name, after)) = rest.split_once(':') {
        let name = name.trim().trim_start_matches("pub ").to_owned();
        let end = match after.trim_start().starts_with('[') {
            true => after
                .rfind(']')
                .map(|_| after.find("],").map_or(after.len(), |end| end + 1))
                .unwrap(),
            false => after.find(',').unwrap_or(after.len()),
        };
        let (kind, others) = after.split_at(end);
        rest = others.trim_start_matches(',');
        let mut parts = kind
            .trim()
            .trim_matches(['[', ']'])
            .split(';')
            .map(|part| part.trim().trim_matches(']'));
        let rust = parts.next().unwrap();
        let cuda = TYPES.iter().find(|(own, _)| *own == rust).map(|(_, cuda)| *cuda);
        // The innermost extent stands first.
        let mut extents: Vec<u64> = parts.map(|extent| value(extent, constants)).collect();
        extents.reverse();
        fields.push((
            name,
            cuda.unwrap_or_else(|| panic!("no type for '{rust}'")).to_owned(),
            extents,
        ));
    }
    fields
}

fn fields_in_cuda(body: &str, constants: &Constants) -> Vec<Field> {
    let mut fields = Vec::new();
    for statement in body.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        let (kind, names) = statement.split_once(' ').unwrap();
        for name in names.split(',') {
            let mut parts = name.split('[').map(|part| part.trim().trim_end_matches(']'));
            let name = parts.next().unwrap().to_owned();
            fields.push((
                name,
                kind.to_owned(),
                parts.map(|extent| value(extent, constants)).collect(),
            ));
        }
    }
    fields
}

/// The bodies of the structs of these names, with their file's constants. Panics if two have one name.
fn structs(
    files: &BTreeMap<String, String>,
    names: &[String],
) -> BTreeMap<String, (String, Constants)> {
    let mut found = BTreeMap::new();
    for code in files.values() {
        for (start, _) in code.match_indices("struct ") {
            let rest = &code[start + "struct ".len()..];
            let Some((name, after)) = rest.split_once(" {") else { continue };
            if names.iter().any(|own| own == name) {
                let body = up_to_closing(after, ['{', '}']).to_owned();
                let before = found.insert(name.to_owned(), (body, constants(code)));
                assert!(before.is_none(), "two structs {name}");
            }
        }
    }
    found
}

/// The names of the structs that kernels take by value.
fn taken_by_value(kernels: &BTreeMap<String, String>) -> Vec<String> {
    let mut names = Vec::new();
    for code in kernels.values() {
        for (start, found) in
            code.match_indices("KERNEL(").chain(code.match_indices("KERNEL_RESIDENT("))
        {
            let all = up_to_closing(&code[start + found.len()..], ['(', ')']);
            for parameter in
                all.split(',').map(str::trim).filter(|parameter| !parameter.contains('*'))
            {
                let kind = parameter.split(' ').next().unwrap_or_default();
                let is_struct = parameter.contains(' ') && kind.starts_with(char::is_uppercase);
                if is_struct
                    && kind.chars().any(char::is_lowercase)
                    && kind.chars().all(char::is_alphanumeric)
                {
                    names.push(kind.to_owned());
                }
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

#[test]
fn structs_have_the_same_fields_in_rust_and_in_cuda() {
    let (rust, kernels) = (files("src/ops", &["rs"]), files("kernels", &["cu", "cuh"]));
    let of_shapes = constants(&code(&source().join("src/shape.rs")));
    let mut names = taken_by_value(&kernels);
    assert!(names.len() >= 22, "{names:?}");
    // Read through a pointer, and a part of others.
    names.extend(["ParameterChunk", "Divisor"].map(String::from));
    let (in_cuda, in_rust) = (structs(&kernels, &names), structs(&rust, &names));
    for name in names {
        let (body, constants) = &in_cuda[&name];
        let cuda = fields_in_cuda(body, constants);
        let (body, own) =
            in_rust.get(&name).unwrap_or_else(|| panic!("no struct {name} in src/ops"));
        let own = own.clone().into_iter().chain(of_shapes.clone()).collect();
        assert_eq!(fields_in_rust(body, &own), cuda, "{name}");
    }
}

/// File and name of a constant in Rust, file and expression in CUDA.
const SHARED: &[[&str; 4]] = &[
    ["update/optimizer", "CHUNK", "parameter_chunk.cuh", "CHUNK_LENGTH"],
    ["update/optimizer/launch", "THREADS", "parameter_chunk.cuh", "CHUNK_THREADS"],
    ["update/soft_update", "THREADS", "parameter_chunk.cuh", "CHUNK_THREADS"],
    ["head/classifiers/launch", "OPERANDS_THREADS", "classifiers.cu", "CLASSIFIER_THREADS"],
    [
        "head/classifiers/launch",
        "COPIED",
        "classifiers.cu",
        "CLASSIFIER_COPIED * CLASSIFIER_THREADS",
    ],
    ["layers/row_tiles", "THREADS", "norm.cuh", "NORM_THREADS"],
    ["layers/batch_norm/launch", "FINISH_CHANNELS", "batch_norm.cu", "FINISH_CHANNELS"],
    ["head/cross_entropy", "THREADS", "cross_entropy.cu", "CROSS_ENTROPY_THREADS"],
    ["layers/depthwise/launch", "CHANNELS", "depthwise.cu", "DEPTHWISE_CHANNELS"],
    ["tensor/elementwise/launch", "THREADS", "elementwise.cu", "ELEMENTWISE_THREADS"],
    [
        "tensor/elementwise/launch",
        "UNITS",
        "elementwise.cu",
        "ELEMENTWISE_UNITS * ELEMENTWISE_THREADS",
    ],
    ["layers/embedding/launch", "THREADS", "embedding.cu", "EMBEDDING_THREADS"],
    ["layers/embedding/launch", "TILE", "embedding.cu", "EMBEDDING_TILE"],
    ["layers/embedding/launch", "BITS", "embedding.cu", "EMBEDDING_BITS"],
    ["layers/embedding/launch", "CHUNK", "embedding.cu", "EMBEDDING_CHUNK"],
    ["layers/flatten", "SIDE", "flatten.cu", "FLATTEN_SIDE"],
    ["input/augment", "ELEMENTS_OF_A_BLOCK", "augment.cu", "4 * AUGMENT_THREADS"],
    ["layers/lstm/launch", "RESIDENT", "lstm.cu", "LSTM_RESIDENT"],
    ["layers/lstm/launch", "UNITS", "lstm.cu", "LSTM_UNITS"],
    ["layers/lstm/launch", "SAMPLES", "lstm.cu", "LSTM_SAMPLES"],
    ["layers/lstm/launch", "STEP_THREADS", "lstm.cu", "32 * LSTM_WARPS"],
    ["layers/squeeze_excite/launch", "GATES_THREADS", "squeeze_excite.cu", "GATES_THREADS"],
    ["layers/squeeze_excite/launch", "THREADS", "squeeze_excite.cu", "UNIT_THREADS"],
    ["layers/squeeze_excite/launch", "UNITS", "squeeze_excite.cu", "UNITS * UNIT_THREADS"],
    ["tensor/matmul/part_sums", "MANY", "matmul.cu", "MANY"],
    ["tensor/matmul/part_sums", "ELEMENTS", "matmul.cu", "MANY_ELEMENTS"],
    ["head/many_classes", "TILE", "output_tile.cuh", "MANY_CLASSES_ROWS"],
    ["peak", "CHAINS", "peak.cu", "CHAINS"],
    ["peak", "STEPS", "peak.cu", "STEPS"],
    ["tensor/reduce/launch", "THREADS", "reduce.cu", "REDUCE_THREADS"],
    ["update/step_statistics", "LOSS", "step_statistics.cu", "LOSS"],
    ["update/step_statistics", "CORRECT", "step_statistics.cu", "CORRECT"],
    ["update/step_statistics", "SAMPLES", "step_statistics.cu", "SAMPLES"],
    [
        "update/step_statistics",
        "WITHOUT_FINITE_CLASSIFIER",
        "step_statistics.cu",
        "SAMPLES_WITHOUT_FINITE",
    ],
    ["update/step_statistics", "DIVERGED", "step_statistics.cu", "DIVERGED"],
    ["update/step_statistics", "STREAK", "step_statistics.cu", "STREAK"],
    ["update/step_statistics", "LONGEST_STREAK", "step_statistics.cu", "LONGEST_STREAK"],
];

#[test]
fn constants_have_the_same_values_in_rust_and_in_cuda() {
    for &[rust, name, cuda, expression] in SHARED {
        let rust = constants(&code(&source().join(format!("src/ops/{rust}.rs"))));
        let cuda = constants(&code(&source().join("kernels").join(cuda)));
        assert_eq!(value(name, &rust), value(expression, &cuda), "{name} and {expression}");
    }
}

/// `Tile<M, N, K, rows, columns, stages, resident>` and `TensorTile<type, M, N, rows, columns, stages, resident>` in CUDA.
#[test]
fn tiles_are_the_same_in_rust_and_in_cuda() {
    let rust = code(&source().join("src/ops/tensor/matmul/tiles.rs"));
    let number = |text: &str| text.trim().parse::<u64>().unwrap();
    for (tables, file, start, slab) in [
        ("static F32: ", "tile.cuh", "typedef Tile<", None),
        (
            "const fn on_tensor_cores(",
            "tensor_tile.cuh",
            "typedef TensorTile<float, ",
            Some("TF32"),
        ),
        ("const fn on_tensor_cores(", "tensor_tile.cuh", "typedef TensorTile<bf16, ", Some("BF16")),
    ] {
        let rest = rust.split_once(tables).unwrap().1;
        let table = rest.split("\nstatic ").next().unwrap().split("\nconst ").next().unwrap();
        let tiles: Vec<&str> = table.split("Tile {").skip(1).collect();
        let cuda = code(&source().join("kernels").join(file));
        let in_cuda = cuda.split(start).skip(1);
        let in_cuda: Vec<Vec<u64>> = in_cuda
            .map(|rest| rest.split('>').next().unwrap().split(',').map(number).collect())
            .collect();
        assert_eq!((tiles.len(), in_cuda.len()), (3, 3), "{start}");
        for (tile, own) in tiles.iter().zip(in_cuda) {
            let field = |name: &str| {
                let after = tile.split_once(&format!("{name}: ")).unwrap().1;
                number(after.split(',').next().unwrap())
            };
            let (threads, k) = match slab {
                None => {
                    assert_eq!(field("k"), own[2], "{start}: {tile}");
                    (own[0] / own[3] * (own[1] / own[4]), own[2])
                }
                // A warp computes `rows` by `columns`; a slab is 128 bytes deep.
                Some(name) => {
                    let call =
                        rust.split_once(&format!("static {name}: [Tile; 3] = on_tensor_cores("));
                    let k = number(call.unwrap().1.split(',').next().unwrap());
                    (own[0] / own[2] * (own[1] / own[3]) * 32, k)
                }
            };
            let bytes = if slab == Some("BF16") { 2 } else { 4 };
            assert!(slab.is_none() || k == 128 / bytes, "{start}: {k}");
            let found = ["m", "n", "threads", "resident"].map(field);
            assert_eq!(found, [own[0], own[1], threads, *own.last().unwrap()], "{start}: {tile}");
        }
    }
}
