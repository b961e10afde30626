//! The arguments of a kernel, in the types that it declares.

use super::reference::Value;
use crate::DType;
use crate::device::gpu::{Argument, ArgumentKind, Pointer};
use crate::tensor::Tensor;

/// An argument of the type that the kernel declares; an error says what the value is.
pub(super) fn argument(
    value: &Value,
    tensor: Option<&Tensor>,
    kind: ArgumentKind,
    declaration: &str,
) -> std::result::Result<Box<dyn Argument>, String> {
    match (value, tensor) {
        (Value::Array(array), tensor) => {
            let name = type_name(array.dtype);
            if kind != ArgumentKind::POINTER
                || declares(declaration).is_some_and(|own| own != array.dtype)
            {
                return Err(format!("an array of {name}"));
            }
            Ok(Box::new(tensor.map_or(Pointer::NULL, Tensor::pointer)))
        }
        (Value::Int(value), _) => {
            let whole = Some(kind).filter(|kind| matches!(kind.0 >> 16, 3 | 4));
            let number = whole.and_then(|kind| number(kind, *value as f64));
            number.ok_or_else(|| "a whole number".into())
        }
        (Value::Float(value), _) => match kind {
            ArgumentKind(bits) if bits >> 16 == 2 => {
                number(kind, *value).ok_or_else(|| "a number".into())
            }
            _ => Err("a number with a fraction".into()),
        },
    }
}

/// A number of the declared type.
fn number(kind: ArgumentKind, value: f64) -> Option<Box<dyn Argument>> {
    Some(match (kind.0 >> 16, kind.0 & 0xffff) {
        (2, 4) => Box::new(value as f32),
        (2, 8) => Box::new(value),
        (3, 4) => Box::new(value as i32),
        (3, 8) => Box::new(value as i64),
        (4, 4) => Box::new(value as u32),
        (4, 8) => Box::new(value as u64),
        _ => return None,
    })
}

fn type_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::F64 => "double",
        DType::BF16 => "bf16",
        DType::U8 => "unsigned char",
        DType::I32 => "int",
        DType::I64 => "long long",
    }
}

/// The type of the elements that a parameter points to, or of which its vectors consist; `None` for others.
fn declares(declaration: &str) -> Option<DType> {
    let starts = [
        ("float", DType::F32),
        ("double", DType::F64),
        ("bf16", DType::BF16),
        ("__nv_bfloat16", DType::BF16),
        ("int", DType::I32),
        ("unsigned", DType::I32),
        ("uint", DType::I32),
    ];
    let words = declaration.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let mut known =
        words.filter_map(|word| starts.iter().find(|(start, _)| word.starts_with(start)));
    known.next().map(|(_, dtype)| *dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_tells_the_type_of_the_elements() {
        assert_eq!(declares("const float4* __restrict__ x"), Some(DType::F32));
        assert_eq!(declares("const unsigned int* labels"), Some(DType::I32));
        assert_eq!(declares("const Pair* x"), None);
    }
}
