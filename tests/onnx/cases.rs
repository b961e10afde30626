//! What onnxruntime is to run, and what it should find.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

/// The cases in a folder, which has their models and arrays.
pub(super) struct Cases<'a> {
    folder: &'a Path,
    cases: Vec<Value>,
    arrays: usize,
}

/// An array by name.
pub(super) enum Array<'a> {
    Floats(&'a str, Vec<usize>, Vec<f32>),
    Tokens(&'a str, Vec<usize>, Vec<i64>),
}

impl<'a> Cases<'a> {
    pub fn new(folder: &'a Path) -> Self {
        Cases { folder, cases: Vec::new(), arrays: 0 }
    }

    /// Adds a model.
    pub fn model(&mut self, name: &str, bytes: &[u8]) {
        fs::write(self.folder.join(name), bytes).unwrap();
        self.cases.push(json!({ "model": name, "runs": [] }));
    }

    /// Adds a run of the last model.
    pub fn run(&mut self, inputs: Vec<Array>, outputs: Vec<Array>) {
        let [inputs, outputs] = [inputs, outputs].map(|all| {
            let pairs = all.into_iter().map(|own| self.written(own));
            Value::Object(pairs.collect::<Map<_, _>>())
        });
        let runs = self.cases.last_mut().unwrap()["runs"].as_array_mut().unwrap();
        runs.push(json!({ "inputs": inputs, "outputs": outputs }));
    }

    fn written(&mut self, array: Array) -> (String, Value) {
        let (name, shape, bytes, kind): (_, _, Vec<u8>, _) = match array {
            Array::Floats(name, shape, values) => {
                (name, shape, values.iter().flat_map(|own| own.to_le_bytes()).collect(), "<f4")
            }
            Array::Tokens(name, shape, values) => {
                (name, shape, values.iter().flat_map(|own| own.to_le_bytes()).collect(), "<i8")
            }
        };
        let file = format!("{}.bin", self.arrays);
        self.arrays += 1;
        fs::write(self.folder.join(&file), bytes).unwrap();
        (name.to_owned(), json!({ "file": file, "shape": shape, "type": kind }))
    }

    /// The largest difference of each model.
    pub fn compared(&self, mut python: Command) -> Vec<(String, f64)> {
        let cases = json!(self.cases).to_string();
        fs::write(self.folder.join("cases.json"), cases).unwrap();
        let script = include_str!("compare.py");
        let output = python.args(["-c", script]).arg(self.folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found.len(), self.cases.len());
        found.into_iter().map(|(name, own)| (name, own.as_f64().unwrap())).collect()
    }
}
