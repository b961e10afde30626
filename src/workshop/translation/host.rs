//! Host code, which a kernel file cannot have: launches, `main`, and functions that only a host can call.

use super::{Kind, Token, Translation};

/// Functions of the C library that only host code can call, besides those that end a program.
const HOST_FUNCTIONS: [&str; 16] = [
    "system", "popen", "fork", "getenv", "fopen", "fprintf", "fputs", "puts", "putchar", "scanf",
    "getchar", "rand", "srand", "time", "sleep", "usleep",
];

/// The engine's headers, which have none of these functions.
const HEADERS: [&str; 2] = ["\"target.cuh\"", "\"common.cuh\""];

/// Whether only host code can call a function of this name.
fn is_of_host(name: &str) -> bool {
    HOST_FUNCTIONS.contains(&name) || name.starts_with("cuda")
}

impl Translation<'_> {
    /// The message for a word or sign that a kernel cannot use; `None` for all others.
    pub(super) fn only_on_a_host(&self, place: usize) -> Option<String> {
        let is_less = |place: usize| self.tokens.get(place).is_some_and(|own| own.text == "<");
        if (place..place + 3).all(is_less) {
            let message = "<<<..>>>: the program launches the kernels, as the header says: `block`, and `tile` or `grid`";
            return Some(message.into());
        }
        let Token { kind: Kind::Word, text, .. } = self.tokens[place] else { return None };
        let next = self.after_space(place + 1);
        let is_called = self.tokens.get(next).is_some_and(|own| own.text == "(");
        let before = |steps: usize| place.checked_sub(steps).map_or("", |at| self.tokens[at].text);
        let is_of_std = before(1) == ":" && before(3) == "std";
        let is_own = is_called && (is_of_std || !matches!(before(1), "." | ">" | ":"));
        match text {
            "throw" | "try" | "catch" => Some(format!(
                "{text}: a kernel has no exceptions; assert(..) and __trap() stop its launch"
            )),
            "exit" | "_exit" | "quick_exit" | "abort" | "terminate" if is_own => Some(format!(
                "{text}: a kernel cannot end the program; a thread ends by return, and assert(..) and __trap() stop the launch"
            )),
            "main" if is_own => Some(
                "main: leave it out; the program fills the arrays, launches the kernels and checks the results".into(),
            ),
            "cout" | "cerr" if is_of_std || is_less(next) && is_less(next + 1) => {
                Some(format!("{text}: a kernel prints by printf"))
            }
            _ if is_own && is_of_host(text) && !self.defines(text) => {
                Some(format!("{text}: this function runs on the host only; a kernel cannot call it"))
            }
            _ => None,
        }
    }

    /// Whether the file may have a function of this name: outside of all braces it can only be declared, a lambda is assigned, a macro is a
    /// line of the preprocessor, and a header of the user's is not looked at.
    fn defines(&self, name: &str) -> bool {
        let mut depth = 0;
        self.tokens.iter().enumerate().any(|(place, token)| {
            match token.text {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            let next = self.tokens.get(self.after_space(place + 1)).map_or("", |own| own.text);
            let is_named = token.text == name && (next == "=" || depth == 0 && next == "(");
            let is_line = token.kind == Kind::Other && token.text.starts_with('#');
            let has_macro = is_line && token.text.contains("define") && token.text.contains(name);
            let is_header = |own: &str| own.contains("include") && own.contains('"');
            let is_known = HEADERS.iter().any(|known| token.text.contains(known));
            is_named || has_macro || is_line && is_header(token.text) && !is_known
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::translate;

    #[test]
    fn host_code_is_refused_with_its_line_and_own_functions_are_not() {
        for (source, word) in [
            ("void f() {\n std::exit (1); }", "exit: a kernel cannot end"),
            ("void f() {\n abort(); }", "abort: a kernel cannot end"),
            ("void f() {\n throw 1; }", "throw: a kernel has no exceptions"),
            ("void f() {\n system(\"ls\"); }", "system: this function runs on the host only"),
            ("void f() {\n int x = rand (); }", "rand: this function"),
            ("void f() {\n std::time(0); }", "time: this function"),
            ("void f() {\n cudaFree(x); }", "cudaFree: this function"),
            ("void f() {\n std::cout << 1; }", "cout: a kernel prints by printf"),
            ("void f() {\n cout << 1; }", "cout: a kernel prints by printf"),
            ("\nint main() {}", "main: leave it out"),
            ("void f() {\n add<<<1, 32>>>(x); }", "<<<..>>>: the program launches"),
            ("\n__global__ int f() {}", "a kernel is written `__global__ void"),
            ("\n__global__ f() {}", "a kernel is written `__global__ void"),
        ] {
            let refused = translate(source).unwrap_err();
            let (line, message) = (refused.line, refused.message);
            assert!(line == 2 && message.starts_with(word), "{line}: {message}");
        }
        for source in [
            "int exit = 1; // throw",
            "void f() { door.exit(); ways->exit(); }",
            "int x = 1 << 2 << 3; float time(int n); void f() { time(3); int rand = 2; main = rand; }",
            "float* rand(int n) { return p; } void f() { x = rand(1); }",
            "void f() { auto time = [](int n) { return n; }; time(3); Own::sleep(3); }",
            "#define rand(x) (x)\nvoid f() { rand(3); }",
            "#include \"own.cuh\"\nvoid f() { rand(3); }",
            "void f(int cout) { int n = cout * 2 < 3; }",
        ] {
            assert_eq!(translate(source).unwrap(), source);
        }
    }
}
