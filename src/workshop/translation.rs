//! CUDA C++ as a student writes it, turned into what `cuda_on_host.h` reads: `__global__` and `__shared__` become its macros.
//! Lines keep their numbers.

mod host;

use std::fmt::Write;

/// The most threads of a block of a kernel without `__launch_bounds__`.
const MOST_THREADS: &str = "1024";

const FORM_OF_A_KERNEL: &str = "a kernel is written `__global__ void name(parameters)`";

/// What the simulator cannot take, with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Untranslatable {
    pub line: usize,
    pub message: String,
}

/// A piece of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A name, a keyword or a number.
    Word,
    /// One sign.
    Sign,
    /// Space, comments, texts and lines of the preprocessor: copied as they are.
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    line: usize,
}

/// Turns a source into one for the host's compiler.
pub(super) fn translate(source: &str) -> Result<String, Untranslatable> {
    let tokens = tokens(source);
    let mut translation = Translation {
        tokens: &tokens,
        next: 0,
        text: String::with_capacity(source.len()),
        depth: 0,
    };
    while translation.next < tokens.len() {
        translation.step()?;
    }
    Ok(translation.text)
}

struct Translation<'a> {
    tokens: &'a [Token<'a>],
    next: usize,
    text: String,
    /// Open braces.
    depth: usize,
}

impl<'a> Translation<'a> {
    fn step(&mut self) -> Result<(), Untranslatable> {
        let start = self.next;
        match self.tokens[start].text {
            "__global__" => self.kernel(start),
            "__shared__" => self.shared(start),
            "__device__" | "__managed__" if self.depth == 0 && self.is_variable(start) => {
                let message = "accesses to a variable of all threads are not checked: let the kernel take an array in its place";
                Err(self.refused(start, message))
            }
            "extern" | "static" | "volatile" | "template" => match self.declares(start) {
                Some("__global__") if self.tokens[start].text == "template" => {
                    let message =
                        "a kernel cannot be a template here: let it call a __device__ template";
                    Err(self.refused(start, message))
                }
                Some("__global__") => self.kernel(start),
                Some("__shared__") => self.shared(start),
                _ => self.copy(),
            },
            _ => match self.only_on_a_host(start) {
                Some(message) => Err(self.refused(start, &message)),
                None => self.copy(),
            },
        }
    }

    /// Whether a declaration that begins here is that of a variable which can change.
    fn is_variable(&self, start: usize) -> bool {
        let ahead = || self.tokens[start..].iter().filter(|token| token.kind != Kind::Other);
        let end = ahead().find(|token| matches!(token.text, "(" | "{" | ";" | "=" | "["));
        let words = ahead().take_while(|token| token.kind == Kind::Word || token.text == "*");
        let is_constant = words
            .map(|token| token.text)
            .any(|text| matches!(text, "const" | "constexpr" | "struct" | "class"));
        end.is_some_and(|token| matches!(token.text, ";" | "=" | "[")) && !is_constant
    }

    fn copy(&mut self) -> Result<(), Untranslatable> {
        let token = self.tokens[self.next];
        match token.text {
            "{" => self.depth += 1,
            "}" => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.text += token.text;
        self.next += 1;
        Ok(())
    }

    fn refused(&self, place: usize, message: &str) -> Untranslatable {
        Untranslatable { line: self.tokens[place].line, message: message.into() }
    }

    /// The next `__global__` or `__shared__` of the declaration that begins here; `None` if there is none.
    fn declares(&self, start: usize) -> Option<&'a str> {
        let ahead = self.tokens[start..].iter().take_while(|token| {
            !(token.kind == Kind::Sign && matches!(token.text, ";" | "{" | "(" | "="))
        });
        ahead.map(|token| token.text).find(|text| matches!(*text, "__global__" | "__shared__"))
    }

    /// `__global__ void __launch_bounds__(256) name(parameters` becomes `KERNEL(name, 256, parameters`.
    fn kernel(&mut self, start: usize) -> Result<(), Untranslatable> {
        if self.depth > 0 && !self.is_in_extern_c() {
            return Err(self.refused(start, "a kernel stands outside of all braces"));
        }
        let (mut most, mut place, mut words) = (MOST_THREADS.to_owned(), start, Vec::new());
        while let Some(token) = self.tokens.get(place) {
            match (token.kind, token.text) {
                (Kind::Word, "__launch_bounds__") => {
                    let (inside, end) = self.bracketed(place + 1, ["(", ")"])?;
                    most = inside.split(',').next().unwrap_or_default().trim().to_owned();
                    place = end;
                    continue;
                }
                (Kind::Word, text) => words.push(text),
                (Kind::Sign, "(") => break,
                (Kind::Sign, "<" | ";" | "{") => {
                    return Err(self.refused(place, FORM_OF_A_KERNEL));
                }
                _ => {}
            }
            place += 1;
        }
        let (name, before) = words.split_last().unwrap_or((&"", &[]));
        if *name == "void" || !before.contains(&"void") {
            return Err(self.refused(start, FORM_OF_A_KERNEL));
        }
        let _ = write!(self.text, "KERNEL({name}, {most}, ");
        self.keep_lines(start, place);
        self.next = place + 1;
        Ok(())
    }

    /// `__shared__ float a[32][33], b;` becomes `SHARED(float, a, [32][33]); SHARED(float, b, );`, and
    /// `extern __shared__ float data[];` becomes `DYNAMIC_SHARED(float, data);`.
    fn shared(&mut self, start: usize) -> Result<(), Untranslatable> {
        if self.depth == 0 {
            return Err(self.refused(start, "a __shared__ array is declared inside of its kernel"));
        }
        let (mut words, mut place, mut is_dynamic) = (Vec::new(), start, false);
        // The type and the first name.
        loop {
            let Some(token) = self.tokens.get(place) else {
                return Err(self.refused(start, "this declaration has no end"));
            };
            match (token.kind, token.text) {
                (Kind::Word, "extern") => is_dynamic = true,
                (Kind::Word, "__shared__" | "static") => {}
                (Kind::Word, "__align__" | "alignas") => {
                    place = self.bracketed(place + 1, ["(", ")"])?.1;
                    continue;
                }
                (Kind::Word, text) => words.push(text.to_owned()),
                (Kind::Sign, ":") => words.push(":".into()),
                (Kind::Sign, "<") => {
                    let (inside, end) = self.bracketed(place, ["<", ">"])?;
                    words.push(format!("<{inside}>"));
                    place = end;
                    continue;
                }
                (Kind::Sign, "[" | ";" | ",") => break,
                (Kind::Sign, "=") => {
                    return Err(self.refused(place, "a __shared__ array has no initial values: write them, then __syncthreads()"));
                }
                (Kind::Sign, "*") => words.push("*".into()),
                (Kind::Sign, _) => {
                    return Err(self.refused(
                        place,
                        "a __shared__ array is written `__shared__ float name[32];`",
                    ));
                }
                (Kind::Other, _) => {}
            }
            place += 1;
        }
        let (Some(mut name), false) = (words.pop(), words.is_empty()) else {
            return Err(
                self.refused(start, "a __shared__ array is written `__shared__ float name[32];`")
            );
        };
        let of_type = words.join(" ").replace(" : : ", "::").replace(" <", "<");
        loop {
            let mut extents = String::new();
            while self.tokens.get(place).is_some_and(|token| token.text == "[") {
                let (inside, end) = self.bracketed(place, ["[", "]"])?;
                extents += &format!("[{inside}]");
                place = self.after_space(end);
            }
            let _ = match is_dynamic {
                true => write!(self.text, "DYNAMIC_SHARED({of_type}, {name})"),
                false => write!(self.text, "SHARED({of_type}, {name}, {extents})"),
            };
            match self.tokens.get(place).map(|token| token.text) {
                Some(",") => {
                    place = self.after_space(place + 1);
                    name = self.tokens.get(place).map_or(String::new(), |token| token.text.into());
                    place = self.after_space(place + 1);
                    self.text += "; ";
                }
                Some(";") => break,
                _ => {
                    return Err(self.refused(
                        start,
                        "a __shared__ array is written `__shared__ float name[32];`",
                    ));
                }
            }
        }
        self.keep_lines(start, place);
        self.next = place;
        Ok(())
    }

    /// Whether the only open brace is that of `extern "C" {`.
    fn is_in_extern_c(&self) -> bool {
        let written = self.text.split_whitespace().collect::<String>();
        self.depth == 1 && written.contains("extern\"C\"{")
    }

    /// The text between two brackets, the first of which is the next token but space, and the place after them.
    fn bracketed(
        &self,
        place: usize,
        [open, close]: [&str; 2],
    ) -> Result<(String, usize), Untranslatable> {
        let place = self.after_space(place);
        let (mut depth, mut inside) = (0, String::new());
        for (at, token) in self.tokens.iter().enumerate().skip(place) {
            let is_inside = depth > 0;
            match token.text {
                text if text == open => depth += 1,
                text if text == close => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok((inside, at + 1));
            }
            if is_inside {
                inside += token.text;
            }
        }
        let line = self.tokens.get(place).or(self.tokens.last()).map_or(1, |token| token.line);
        Err(Untranslatable { line, message: format!("there is no {close} to this {open}") })
    }

    fn after_space(&self, mut place: usize) -> usize {
        while self.tokens.get(place).is_some_and(|token| token.kind == Kind::Other) {
            place += 1;
        }
        place
    }

    /// Writes the line breaks of tokens that are left out.
    fn keep_lines(&mut self, start: usize, end: usize) {
        let breaks = self.tokens[start..end].iter().map(|token| token.text.matches('\n').count());
        self.text += &"\n".repeat(breaks.sum());
    }
}

/// A source without space, comments, texts and lines of the preprocessor.
pub(super) fn code(source: &str) -> String {
    let tokens = tokens(source).into_iter();
    tokens.filter(|token| token.kind != Kind::Other).map(|token| token.text).collect()
}

/// Cuts a source into words, signs and the rest.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest, mut line, mut is_line_start) = (Vec::new(), source, 1, true);
    while let Some(first) = rest.chars().next() {
        let (kind, length) = match first {
            '#' if is_line_start => (Kind::Other, directive(rest)),
            _ if rest.starts_with("//") => (Kind::Other, rest.find('\n').unwrap_or(rest.len())),
            _ if rest.starts_with("/*") => {
                (Kind::Other, rest.find("*/").map_or(rest.len(), |end| end + 2))
            }
            '"' | '\'' => (Kind::Other, quoted(rest, first)),
            _ if first.is_whitespace() => {
                (Kind::Other, rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()))
            }
            _ if is_of_word(first) => {
                (Kind::Word, rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()))
            }
            _ => (Kind::Sign, first.len_utf8()),
        };
        let (text, behind) = rest.split_at(length);
        tokens.push(Token { kind, text, line });
        line += text.matches('\n').count();
        is_line_start = match text.rsplit_once('\n') {
            Some((_, last)) => last.trim().is_empty(),
            None => is_line_start && text.trim().is_empty(),
        };
        rest = behind;
    }
    tokens
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a line of the preprocessor, with the lines that continue it.
fn directive(text: &str) -> usize {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        if !line.trim_end().ends_with('\\') {
            break;
        }
    }
    end
}

/// The length of a text or a character in quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            // A quote that does not end on its line separates digits.
            '\n' => return 1,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(source: &str) -> String {
        translate(source).unwrap()
    }

    fn refused(source: &str) -> (usize, String) {
        let refused = translate(source).unwrap_err();
        (refused.line, refused.message)
    }

    #[test]
    fn kernels_become_macros() {
        assert_eq!(line("__global__ void f(int n) {}"), "KERNEL(f, 1024, int n) {}");
        assert_eq!(line("extern \"C\" __global__ void f() {}"), "KERNEL(f, 1024, ) {}");
        assert_eq!(
            line("__global__ void __launch_bounds__(64, 2) f(int n) {}"),
            "KERNEL(f, 64, int n) {}"
        );
        assert_eq!(line("static __global__\nvoid f(int n) {}"), "KERNEL(f, 1024, \nint n) {}");
        assert_eq!(
            line("extern \"C\" {\n__global__ void f() {} }"),
            "extern \"C\" {\nKERNEL(f, 1024, ) {} }"
        );
    }

    #[test]
    fn shared_arrays_become_macros() {
        let inside = |text: &str| {
            line(&format!("void f() {{ {text} }}")).replace("void f() { ", "").replace(" }", "")
        };
        assert_eq!(inside("__shared__ float a[32][33];"), "SHARED(float, a, [32][33]);");
        assert_eq!(
            inside("__shared__ unsigned int a[N + 1], b;"),
            "SHARED(unsigned int, a, [N + 1]); SHARED(unsigned int, b, );"
        );
        assert_eq!(inside("extern __shared__ float data[];"), "DYNAMIC_SHARED(float, data);");
        assert_eq!(inside("__shared__ __align__(16) float4 a[8];"), "SHARED(float4, a, [8]);");
        assert_eq!(inside("volatile __shared__ int a;"), "SHARED(volatile int, a, );");
        assert_eq!(inside("__shared__ Pair<int, 2> a[4];"), "SHARED(Pair<int, 2>, a, [4]);");
        assert_eq!(inside("static __shared__ float a\n[4];"), "SHARED(float, a, [4])\n;");
    }

    #[test]
    fn comments_texts_and_the_preprocessor_stay() {
        for source in [
            "// __global__ void f()\nint x = 1'000;",
            "/* __shared__ float\na[2]; */",
            "const char* s = \"__global__ \\\" void\";",
            "#define TILE __shared__ float \\\n    tile[2]\nint x;",
            "extern int a; static float b; template <class T> T f(T x) { return x; }",
        ] {
            assert_eq!(line(source), source);
        }
    }

    #[test]
    fn what_the_simulator_cannot_take_is_refused_with_its_line() {
        let (line, message) = refused("\ntemplate <int N>\n__global__ void f() {}");
        assert_eq!(line, 2);
        assert!(message.contains("template"), "{message}");
        assert_eq!(refused("__shared__ float a[2];").0, 1);
        assert!(refused("void f() {\n__shared__ int a = 0; }").1.contains("no initial values"));
        assert_eq!(refused("void f() {\n__shared__ int a = 0; }").0, 2);
        assert_eq!(
            refused("__global__ void").1,
            "a kernel is written `__global__ void name(parameters)`"
        );
        assert!(refused("void f() { __shared__ float a[2").1.contains("no ] to this ["));
        for text in [
            "__device__ float sum;",
            "__device__ int counts[4] = {};",
            "static __device__ int n = 0;",
        ] {
            assert!(refused(text).1.contains("are not checked"), "{text}");
        }
        for text in [
            "__device__ float f(int n);",
            "__device__ const float x[2] = {1, 2};",
            "__device__ inline int g() { return 1; }",
        ] {
            assert_eq!(translate(text).unwrap(), text);
        }
    }

    #[test]
    fn code_is_what_the_compiler_sees() {
        let source =
            "// mma_tf32(\n#define M mma_tf32(\ncopy_async_wait < 1 > (); f(\"mma_tf32(\");";
        assert_eq!(code(source), "copy_async_wait<1>();f();");
    }
}
