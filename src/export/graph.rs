//! A graph of ONNX: nodes, constants, inputs and outputs, and the bytes of its file.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::protobuf::Message;

/// The version of ONNX's operators, and the first version of the file's layout that has them.
const OPERATORS: i64 = 17;
const LAYOUT: i64 = 8;

/// The most bytes of a file: Protocol Buffers count in 32 bits with a sign.
const MOST_BYTES: usize = i32::MAX as usize;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    F32,
    I64,
    Bool,
}

impl ElementType {
    pub fn number(self) -> i64 {
        match self {
            ElementType::F32 => 1,
            ElementType::I64 => 7,
            ElementType::Bool => 9,
        }
    }

    fn name(self) -> &'static str {
        match self {
            ElementType::F32 => "float32",
            ElementType::I64 => "int64",
            ElementType::Bool => "bool",
        }
    }
}

/// An extent of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Fixed(usize),
    /// Any extent, the same wherever the name occurs.
    Free(&'static str),
}

/// An input or output of the graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Port {
    pub name: String,
    pub element: ElementType,
    pub extents: Vec<Extent>,
    pub description: String,
}

impl Port {
    /// Name, type and extents, such as `images float32 [batch, 3, 32, 32]`.
    pub fn signature(&self) -> String {
        let extent = |extent: &Extent| match extent {
            Extent::Fixed(extent) => extent.to_string(),
            Extent::Free(name) => (*name).to_owned(),
        };
        let extents: Vec<String> = self.extents.iter().map(extent).collect();
        format!("{} {} [{}]", self.name, self.element.name(), extents.join(", "))
    }

    fn message(&self) -> Message {
        let extents = self.extents.iter().map(|extent| match extent {
            Extent::Fixed(extent) => Message::default().int(1, *extent as i64),
            Extent::Free(name) => Message::default().text(2, name),
        });
        let shape = Message::default().messages(1, extents);
        let tensor = Message::default().int(1, self.element.number()).message(2, shape);
        let kind = Message::default().message(1, tensor);
        Message::default().text(1, &self.name).message(2, kind).text(3, &self.description)
    }
}

/// A setting of a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
}

pub(super) type Attributes = Vec<(&'static str, Attribute)>;

struct Node {
    operator: &'static str,
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: Attributes,
}

impl Node {
    fn message(&self) -> Message {
        let attributes = self.attributes.iter().map(|(name, value)| {
            let own = Message::default().text(1, name);
            match value {
                Attribute::Float(value) => own.float(2, *value).int(20, 1),
                Attribute::Int(value) => own.int(3, *value).int(20, 2),
                Attribute::Ints(values) => own.ints(8, values).int(20, 7),
            }
        });
        Message::default()
            .texts(1, &self.inputs)
            .texts(2, &self.outputs)
            .text(3, &self.outputs[0])
            .text(4, self.operator)
            .messages(5, attributes)
    }
}

/// A constant tensor.
struct Constant {
    name: String,
    extents: Vec<i64>,
    element: ElementType,
    bytes: Vec<u8>,
}

impl Constant {
    fn message(&self) -> Message {
        Message::default()
            .ints(1, &self.extents)
            .int(2, self.element.number())
            .text(8, &self.name)
            .bytes(9, &self.bytes)
    }
}

/// A graph in the making. Each value has a name of its own.
#[derive(Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    constants: Vec<Constant>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    names: BTreeSet<String>,
}

impl Graph {
    /// `name`, or with a number after it if there is such a value already.
    fn unused(&mut self, name: &str) -> String {
        let mut own = name.to_owned();
        let mut number = 1;
        while !self.names.insert(own.clone()) {
            number += 1;
            own = format!("{name}_{number}");
        }
        own
    }

    /// Adds an input.
    pub fn input(&mut self, port: Port) -> String {
        self.names.insert(port.name.clone());
        let name = port.name.clone();
        self.inputs.push(port);
        name
    }

    /// Reserves the name of an output for [`Graph::output`].
    pub fn reserve(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// Makes a value an output under a reserved name.
    pub fn output(&mut self, port: Port, value: String) {
        let outputs = vec![port.name.clone()];
        self.nodes.push(Node {
            operator: "Identity",
            inputs: vec![value],
            outputs,
            attributes: vec![],
        });
        self.outputs.push(port);
    }

    pub fn floats(&mut self, name: &str, extents: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, extents, ElementType::F32, bytes)
    }

    /// A vector of whole numbers.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, &[values.len()], ElementType::I64, bytes)
    }

    /// A constant; one that is there already under its name is not stored twice.
    fn constant(
        &mut self,
        name: &str,
        extents: &[usize],
        element: ElementType,
        bytes: Vec<u8>,
    ) -> String {
        let extents: Vec<i64> = extents.iter().map(|extent| *extent as i64).collect();
        let is_there =
            |own: &&Constant| own.name == name && own.extents == extents && own.bytes == bytes;
        if let Some(own) = self.constants.iter().find(is_there) {
            return own.name.clone();
        }
        let name = self.unused(name);
        self.constants.push(Constant { name: name.clone(), extents, element, bytes });
        name
    }

    /// Adds a node with one output.
    pub fn node<I: Into<String>>(
        &mut self,
        operator: &'static str,
        inputs: impl IntoIterator<Item = I>,
        attributes: Attributes,
    ) -> String {
        let [output] = self.nodes(operator, inputs, attributes);
        output
    }

    /// Adds a node with several outputs.
    pub fn nodes<I: Into<String>, const N: usize>(
        &mut self,
        operator: &'static str,
        inputs: impl IntoIterator<Item = I>,
        attributes: Attributes,
    ) -> [String; N] {
        let outputs = [(); N].map(|()| self.unused(&operator.to_lowercase()));
        let inputs = inputs.into_iter().map(Into::into).collect();
        self.nodes.push(Node { operator, inputs, outputs: outputs.to_vec(), attributes });
        outputs
    }

    /// The signatures of inputs and outputs.
    pub fn signatures(&self) -> [Vec<String>; 2] {
        [&self.inputs, &self.outputs].map(|ports| ports.iter().map(Port::signature).collect())
    }

    /// Removes what leads to no output.
    fn prune(&mut self) {
        let mut used: BTreeSet<&str> = self.outputs.iter().map(|port| &*port.name).collect();
        let mut keep = vec![false; self.nodes.len()];
        for (node, keep) in self.nodes.iter().zip(&mut keep).rev() {
            *keep = node.outputs.iter().any(|output| used.contains(&**output));
            if *keep {
                used.extend(node.inputs.iter().map(|input| &**input));
            }
        }
        let used: BTreeSet<String> = used.into_iter().map(str::to_owned).collect();
        let mut keep = keep.into_iter();
        self.nodes.retain(|_| keep.next() == Some(true));
        self.constants.retain(|own| used.contains(&own.name));
    }

    /// The bytes of a file with this graph, a description for people, and texts by key.
    ///
    /// # Errors
    /// Where the constants do not fit into such a file.
    pub fn into_file(mut self, description: &str, texts: &[(&str, String)]) -> Result<Vec<u8>> {
        self.prune();
        check_size(self.constants.iter().map(|own| own.bytes.len()).sum())?;
        let ports = |ports: &[Port]| ports.iter().map(Port::message).collect::<Vec<_>>();
        let graph = Message::default()
            .messages(1, self.nodes.iter().map(Node::message))
            .text(2, "alrao")
            .messages(5, self.constants.iter().map(Constant::message))
            .messages(11, ports(&self.inputs))
            .messages(12, ports(&self.outputs));
        let texts = texts.iter().map(|(key, text)| Message::default().text(1, key).text(2, text));
        let operators = Message::default().text(1, "").int(2, OPERATORS);
        let model = Message::default()
            .int(1, LAYOUT)
            .text(2, "alrao")
            .text(3, env!("CARGO_PKG_VERSION"))
            .text(6, description)
            .message(7, graph)
            .message(8, operators)
            .messages(14, texts);
        let bytes = model.into_bytes();
        check_size(bytes.len())?;
        Ok(bytes)
    }
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let message = format!(
        "has weights of {:.1} GB, and an ONNX file holds at most 2 GB; a smaller `width` or fewer `classifiers` fit",
        bytes as f64 / 1e9
    );
    Err(Error::input("the model", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_file_can_hold_is_refused() {
        assert!(check_size(MOST_BYTES).is_ok());
        let error = check_size(3_000_000_000).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("weights of 3.0 GB"), "{error}");
    }

    #[test]
    fn what_leads_to_no_output_is_left_out() {
        let mut graph = Graph::default();
        let port = |name: &str| Port {
            name: name.into(),
            element: ElementType::F32,
            extents: vec![Extent::Free("batch"), Extent::Fixed(2)],
            description: String::new(),
        };
        let x = graph.input(port("x"));
        graph.reserve("y");
        let [a, b] = ["a", "b"].map(|name| graph.floats(name, &[2], &[1.0, 2.0]));
        assert_eq!(graph.floats("a", &[2], &[1.0, 2.0]), a);
        assert_eq!(graph.floats("a", &[2], &[1.0, 3.0]), "a_2");
        let sum = graph.node("Add", [&x, &a], vec![]);
        graph.node("Add", [&x, &b], vec![]);
        graph.output(port("y"), sum);
        graph.prune();
        let names: Vec<&str> = graph.constants.iter().map(|own| &*own.name).collect();
        assert_eq!((graph.nodes.len(), names), (2, vec!["a"]));
        assert_eq!(graph.signatures(), [["x float32 [batch, 2]"], ["y float32 [batch, 2]"]]);
    }
}
