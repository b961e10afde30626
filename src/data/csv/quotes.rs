//! Quotation marks that are never closed: everything behind one would be part of its cell.

/// The place of a cell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// The byte of its quotation mark.
    pub byte: usize,
    /// Its column, from 0.
    pub column: usize,
}

/// The cell whose quotation mark is open at the end of a text; `None` if there is none.
pub(super) fn unclosed(text: &str, separator: u8) -> Option<Opening> {
    let (mut open, mut column, mut is_start) = (None, 0, true);
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((byte, own)) = bytes.next() {
        match own {
            // Two marks stand for one.
            b'"' if open.is_some() && bytes.next_if(|(_, next)| *next == b'"').is_some() => {}
            b'"' if open.is_some() => open = None,
            _ if open.is_some() => {}
            b'"' if is_start => (open, is_start) = (Some(Opening { byte, column }), false),
            b'\n' | b'\r' => (column, is_start) = (0, true),
            own if own == separator => (column, is_start) = (column + 1, true),
            _ => is_start = false,
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cell_that_begins_with_a_mark_and_never_ends_is_open() {
        for text in ["a,b\n1,2\n", "\"a\",\"b\"\n", "a \"b,c\n", "\"a\"\"b\nc\"\n", "5\",6\n", ""] {
            assert_eq!(unclosed(text, b','), None, "{text}");
        }
        for (text, byte, column) in [
            ("a,b\n1,\"2\n3,4\n", 6, 1),
            ("\"", 0, 0),
            ("\"a\",\"b\"\"\n", 4, 1),
            ("a;b\n1;2\n\"3;4", 8, 0),
        ] {
            let separator = if text.contains(';') { b';' } else { b',' };
            assert_eq!(unclosed(text, separator), Some(Opening { byte, column }), "{text}");
        }
    }
}
