//! Contracts products and sums to fma, as ptxas does where neither has a rounding of its own.

use std::collections::HashMap;

use super::text::{Function, Statement, parts};

/// The function with an fma in place of each sum or difference that takes in a product which nothing else uses, within
/// straight-line code. The product stays, without a use.
pub fn contract(function: &Function) -> Function {
    let uses = uses(function);
    let mut products: HashMap<String, (String, String)> = HashMap::new();
    let mut statements = Vec::new();
    for statement in &function.statements {
        let text = statement.text.as_str();
        let (mnemonic, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let operands = parts(rest);
        let fused = fused(mnemonic, &operands, &products, &uses);
        match &fused {
            Some(lines) => statements.extend(lines.iter().map(|text| Statement {
                text: text.clone(),
                file: statement.file,
                line: statement.line,
            })),
            None => statements.push(statement.clone()),
        }
        if ends_straight_line(text, mnemonic) {
            products.clear();
            continue;
        }
        let written = names(operands.first().copied().unwrap_or(""));
        let is_written = |name: &String| written.contains(&name.as_str());
        products.retain(|own, (a, b)| !is_written(own) && !is_written(a) && !is_written(b));
        if let ("mul.f32" | "mul.f64", [to, a, b]) = (mnemonic, operands.as_slice()) {
            products.insert((*to).to_owned(), ((*a).to_owned(), (*b).to_owned()));
        }
    }
    Function { statements, ..function.clone() }
}

fn ends_straight_line(text: &str, mnemonic: &str) -> bool {
    let first = mnemonic.split('.').next().unwrap_or("");
    text.ends_with(':') || text.starts_with('@') || ["bra", "call", "ret", "exit"].contains(&first)
}

fn names(text: &str) -> Vec<&str> {
    text.split(['{', '}', ',', '|', ' ', '[', ']', '+', '(', ')'])
        .filter(|name| name.starts_with('%'))
        .collect()
}

/// How often each register stands in the text; a product that is used once stands there twice.
fn uses(function: &Function) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for name in function.statements.iter().flat_map(|statement| names(&statement.text)) {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// What a sum or a difference with a product becomes.
fn fused(
    mnemonic: &str,
    operands: &[&str],
    products: &HashMap<String, (String, String)>,
    uses: &HashMap<&str, usize>,
) -> Option<Vec<String>> {
    let (operation, ty) = mnemonic.split_once('.')?;
    let [to, left, right] = *operands else { return None };
    let product = |name: &str| products.get(name).filter(|_| uses.get(name) == Some(&2));
    let lines = match (operation, product(left), product(right)) {
        ("add", Some((a, b)), _) => vec![format!("fma.rn.{ty} {to}, {a}, {b}, {right}")],
        ("add", _, Some((a, b))) => vec![format!("fma.rn.{ty} {to}, {a}, {b}, {left}")],
        ("sub", Some((a, b)), _) => negated(ty, right, &|c| format!("{to}, {a}, {b}, {c}")),
        ("sub", _, Some((a, b))) => negated(ty, a, &|c| format!("{to}, {c}, {b}, {left}")),
        _ => return None,
    };
    matches!(ty, "f32" | "f64").then_some(lines)
}

/// An fma of which one operand is negated first, in a scope of its own.
fn negated(ty: &str, operand: &str, operands: &dyn Fn(&str) -> String) -> Vec<String> {
    let name = "%negated";
    vec![
        "{".to_owned(),
        format!(".reg .{ty} {name}"),
        format!("neg.{ty} {name}, {operand}"),
        format!("fma.rn.{ty} {}", operands(name)),
        "}".to_owned(),
    ]
}
