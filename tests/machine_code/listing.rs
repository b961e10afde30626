//! Counts the instructions of a kernel's main loop in the listing of its machine code (`cuobjdump -sass`).
//!
//! The main loop is the smallest loop that starts a group of asynchronous copies. In a kernel without such copies it is the
//! smallest with most products on tensor cores; without products, the innermost with most bytes; without a loop, the whole
//! kernel. Of the paths through it the usual one is counted: that with the most products on tensor cores, then the most
//! bytes, then the most exponentials and logarithms, then the fewest instructions. So a path that copies element by element,
//! or leaves the work out, is never taken.

use alrao::bench::estimate::machine_code::Pass;

/// An instruction with its address.
struct Line<'a> {
    address: u64,
    /// Whether a predicate may leave it out.
    is_guarded: bool,
    /// Whether it never runs (`@!PT`): nvcc puts such loads before asynchronous copies.
    is_idle: bool,
    /// Its name with modifiers.
    name: &'a str,
    /// The address that it may jump to.
    target: Option<u64>,
}

/// A range of lines, from the target of a jump backwards to the jump.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Loop {
    first: usize,
    last: usize,
}

impl Loop {
    fn lines<'a>(self, lines: &'a [Line<'a>]) -> impl Iterator<Item = &'a Line<'a>> {
        lines[self.first..=self.last].iter()
    }

    fn contains(self, other: Loop) -> bool {
        self != other && self.first <= other.first && other.last <= self.last
    }
}

/// The instructions of one pass through a kernel's main loop. `products` is the number of products of a warp (on tensor cores)
/// or thread in a pass, which tells how often the loop over the inner axis is run.
pub fn pass(body: &str, products: Option<u32>) -> Pass {
    let lines: Vec<Line> = body.lines().filter_map(line).collect();
    let loops = loops(&lines);
    let main = main_loop(&lines, &loops);
    let whole = Loop { first: 0, last: lines.len() - 1 };
    let path = Paths { lines: &lines, loops: &loops, main, products };
    path.best(main.unwrap_or(whole)).pass
}

fn line(text: &str) -> Option<Line<'_>> {
    let (address, rest) = text.trim_start().strip_prefix("/*")?.split_once("*/")?;
    let address = u64::from_str_radix(address, 16).ok().filter(|_| address.len() < 8)?;
    let instruction = rest.split(';').next()?.trim();
    let (is_guarded, is_idle) = (instruction.starts_with('@'), instruction.starts_with("@!PT "));
    let unguarded = match is_guarded {
        true => instruction.split_once(' ')?.1.trim_start(),
        false => instruction,
    };
    let (name, operands) = unguarded.split_once(' ').unwrap_or((unguarded, ""));
    let is_jump = name == "BRA" || name.starts_with("BRA.");
    let target = operands.rsplit([' ', ',', '(', '`']).find_map(|word| word.strip_prefix("0x"));
    let target = target.and_then(|own| u64::from_str_radix(own.trim_end_matches(')'), 16).ok());
    // A jump under a predicate among its operands may also go on.
    let is_guarded = is_guarded || is_jump && operands.contains('P') && !operands.contains("UPT");
    Some(Line { address, is_guarded, is_idle, name, target: target.filter(|_| is_jump) })
}

fn loops(lines: &[Line]) -> Vec<Loop> {
    let place = |address: u64| lines.iter().position(|line| line.address == address);
    let backwards = |(last, line): (usize, &Line)| {
        let first = place(line.target.filter(|target| *target < line.address)?)?;
        Some(Loop { first, last })
    };
    lines.iter().enumerate().filter_map(backwards).collect()
}

fn main_loop(lines: &[Line], loops: &[Loop]) -> Option<Loop> {
    let starts_copies = |own: &&Loop| own.lines(lines).any(|line| line.name == "LDGDEPBAR");
    let size = |own: &&Loop| own.last - own.first;
    if let Some(pipeline) = loops.iter().filter(starts_copies).min_by_key(size) {
        return Some(*pipeline);
    }
    let products = |own: &Loop| own.lines(lines).filter(|line| is(line.name, "HMMA")).count();
    let most = loops.iter().map(products).max().filter(|most| *most > 0);
    if let Some(most) = most {
        return loops.iter().filter(|own| products(own) == most).min_by_key(size).copied();
    }
    let bytes = |own: &Loop| own.lines(lines).map(|line| bytes(line.name)).sum::<u32>();
    let innermost = loops.iter().filter(|own| !loops.iter().any(|other| own.contains(*other)));
    innermost.filter(|own| bytes(own) > 0).max_by_key(|own| bytes(own)).copied()
}

/// A path through some lines.
#[derive(Clone, Copy, Default)]
struct Path {
    pass: Pass,
    /// Exponentials and logarithms.
    functions: u32,
}

impl Path {
    fn rank(&self) -> (u32, u32, u32, std::cmp::Reverse<u32>) {
        let Pass { tensor, bytes, .. } = self.pass;
        (tensor, bytes, self.functions, std::cmp::Reverse(self.pass.slots()))
    }

    fn add(&mut self, line: &Line, times: u32) {
        let (pass, name) = (&mut self.pass, line.name);
        *unit(pass, name) += times;
        if line.is_idle {
            return;
        }
        pass.wavefronts += times * wavefronts(name);
        pass.bytes += times * bytes(name);
        let is_function = ["MUFU.EX2", "MUFU.LG2"].iter().any(|own| is(name, own));
        self.functions += times * u32::from(is_function);
    }
}

struct Paths<'a> {
    lines: &'a [Line<'a>],
    loops: &'a [Loop],
    main: Option<Loop>,
    products: Option<u32>,
}

impl Paths<'_> {
    /// The usual path through a range of lines; jumps lead forwards only.
    fn best(&self, range: Loop) -> Path {
        let mut known: Vec<Option<Path>> = vec![None; self.lines.len() + 1];
        for at in (range.first..=range.last).rev() {
            known[at] = self.from(at, range, &known);
        }
        known[range.first].unwrap_or_default()
    }

    fn from(&self, at: usize, range: Loop, known: &[Option<Path>]) -> Option<Path> {
        let line = &self.lines[at];
        if at == range.last || line.name == "EXIT" && !line.is_guarded {
            let is_end = at == range.last || self.main.is_none();
            let mut path = Path::default();
            path.add(line, 1);
            return is_end.then_some(path);
        }
        if let Some((inner, times)) = self.products_from(at) {
            let mut path = known[inner.last + 1]?;
            inner.lines(self.lines).for_each(|line| path.add(line, times));
            return Some(path);
        }
        let place = |target: u64| self.lines.iter().position(|line| line.address == target);
        let jump = line.target.and_then(place);
        let forwards = jump.filter(|to| *to > at && *to <= range.last);
        // A loop within is run once: its jump backwards is not taken.
        let falls_through = line.target.is_none() || line.is_guarded;
        let next = [forwards, falls_through.then_some(at + 1)];
        let paths = next.into_iter().flatten().filter_map(|to| known[to]);
        let mut path = paths.max_by_key(Path::rank)?;
        path.add(line, 1);
        Some(path)
    }

    /// The loop over the inner axis that begins here, and how often it is run in a pass.
    fn products_from(&self, at: usize) -> Option<(Loop, u32)> {
        let (main, products) = (self.main?, self.products?);
        let own = self.loops.iter().find(|own| own.first == at && main.contains(**own))?;
        let count = |name: &str| own.lines(self.lines).filter(|line| is(line.name, name)).count();
        // A loop that copies has a few multiplications of addresses.
        let of_a_run = match [count("HMMA"), count("FFMA")] {
            [0, own] => Some(own).filter(|own| *own > 8)?,
            [own, _] => own,
        };
        Some((*own, products / of_a_run as u32))
    }
}

/// Whether an instruction has this name, whatever its modifiers.
fn is(name: &str, own: &str) -> bool {
    name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The count of the unit that executes an instruction.
fn unit<'a>(pass: &'a mut Pass, name: &str) -> &'a mut u32 {
    let base = name.split('.').next().unwrap_or(name);
    match base {
        "HMMA" | "IMMA" => &mut pass.tensor,
        "DADD" | "DMUL" | "DFMA" | "DSETP" | "DMNMX" => &mut pass.fp64,
        "MUFU" | "F2F" | "F2I" | "I2F" | "FRND" | "I2FP" | "F2IP" | "POPC" | "FLO" | "BREV" => {
            &mut pass.special
        }
        "LDS" | "STS" | "LDSM" | "STSM" | "ATOMS" | "SHFL" => &mut pass.shared,
        "LDG" | "STG" | "LDGSTS" | "RED" | "ATOMG" | "LD" | "ST" | "LDGDEPBAR" => &mut pass.global,
        "BRA" | "BSSY" | "BSYNC" | "EXIT" | "CALL" | "RET" | "BAR" | "WARPSYNC" | "DEPBAR"
        | "YIELD" | "NOP" | "BREAK" | "BRX" => &mut pass.control,
        _ if base.starts_with('F')
            || base.starts_with("HFMA")
            || base.starts_with("HADD")
            || base.starts_with("HMUL")
            || base.starts_with("HSET")
            || base.starts_with("HMNMX") =>
        {
            &mut pass.fp32
        }
        _ => &mut pass.integer,
    }
}

/// Bytes of a thread's access: the modifiers tell the width.
fn width(name: &str) -> u32 {
    let has = |modifier: &str| name.split('.').skip(1).any(|own| own == modifier);
    match () {
        () if has("128") => 16,
        () if has("64") => 8,
        () if has("U16") || has("S16") => 2,
        () if has("U8") || has("S8") => 1,
        () => 4,
    }
}

/// Bytes that a thread moves to or from global memory.
fn bytes(name: &str) -> u32 {
    match ["LDG", "STG", "LDGSTS"].iter().any(|own| is(name, own)) {
        true => width(name),
        false => 0,
    }
}

/// Wavefronts of 128 bytes in which shared memory serves a warp's access.
fn wavefronts(name: &str) -> u32 {
    if is(name, "LDSM") || is(name, "STSM") {
        // One for each matrix.
        return name.rsplit('.').next().and_then(|count| count.parse().ok()).unwrap_or(1);
    }
    let is_access = ["LDS", "STS", "LDGSTS", "ATOMS"].iter().any(|own| is(name, own));
    if is_access { (width(name) / 4).max(1) } else { u32::from(is(name, "SHFL")) }
}

/// A loop over slabs: copies of 16 bytes, or on another path of 4; a loop of two products, run four times; a path round all of it.
const SLABS: &str = "
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/              @!P0 BRA 0x0090 ;
        /*0020*/               @P1 BRA 0x005c ;
        /*0030*/                   IADD3 R2, R2, 0x4, RZ ;
        /*0040*/                   LDGSTS.E [R4], [R2.64] ;
        /*0050*/               @P2 BRA 0x0030 ;
        /*0058*/                   BRA 0x0070 ;
        /*005c*/              @!PT LDS RZ, [RZ] ;
        /*0060*/                   LDGSTS.E.BYPASS.128 [R4], [R2.64] ;
        /*0070*/                   LDGDEPBAR ;
        /*0080*/                   LDSM.16.M88.4 R8, [R4] ;
        /*0084*/                   HMMA.1688.F32.TF32 R12, R8, R9, R12 ;
        /*0086*/                   HMMA.1688.F32.TF32 R16, R8, R10, R16 ;
        /*0088*/               @P3 BRA 0x0080 ;
        /*0090*/                   UISETP.NE.AND UP0, UPT, UR4, URZ, UPT ;
        /*00a0*/                   BRA.U UP0, `(.L_x_1) ;
        /*00a8*/               @P4 BRA 0x0010 ;
        /*00b0*/                   STG.E.128 [R2.64], R12 ;
        /*00c0*/                   EXIT ;
";

#[test]
fn the_usual_way_through_the_main_loop_is_counted() {
    let counted = pass(SLABS, Some(8));
    let expected = Pass {
        tensor: 8,
        // UISETP.
        integer: 1,
        // The load that does nothing takes a slot, and no wavefront.
        shared: 4 + 1,
        global: 2,
        // Two jumps before the copy, one in each run of the inner loop, two at the end.
        control: 2 + 4 + 2,
        // A copy of 512 bytes, and four matrices in each run.
        wavefronts: 4 + 16,
        bytes: 16,
        ..Pass::default()
    };
    assert_eq!(counted, expected);
    let shown = "slots 24 tensor 8 integer 1 shared 5 global 2 control 8 wavefronts 20 bytes 16";
    assert_eq!(counted.to_string(), shown);
}

#[test]
fn a_kernel_without_a_loop_is_counted_from_end_to_end() {
    let body = SLABS.lines().filter(|line| !line.contains("P2") && !line.contains("P3"));
    let body: Vec<&str> = body.filter(|line| !line.contains("P4")).collect();
    let counted = pass(&body.join("\n"), None);
    assert_eq!((counted.tensor, counted.bytes, counted.slots()), (2, 32, 13));
}
