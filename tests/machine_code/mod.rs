//! What nvcc made of the kernels: numbers alone would let a naive one pass. Needs cuobjdump (with nvdisasm), in
//! `CUOBJDUMP` or on the path, and a program that carries kernels.

mod listing;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use alrao::device::fat_binaries;

use crate::place::source;

/// Registers, shared bytes and the main loop of every kernel as nvcc 13.0.88 compiles it; `ALRAO_WRITE_RESOURCES=1` writes it
/// anew. Estimates of times are made from it.
const PINNED: &str = "tests/machine_code.txt";

/// The instructions that each of these kernels has to contain on sm_90.
const EXPECTED: &[(&str, &[&str])] = &[
    ("optimizer_sgd_f32", VECTORS),
    ("optimizer_momentum_f32", VECTORS),
    ("optimizer_adam_f32", VECTORS),
    ("soft_update_f32", VECTORS),
    ("batch_norm_statistics_x4_f32", &["LDG.E.128"]),
    ("batch_norm_apply_x4_f32", VECTORS),
    ("batch_norm_sums_x4_f32", &["LDG.E.128"]),
    ("batch_norm_input_gradient_x4_f32", VECTORS),
    ("max_pool_fwd_x4_f32", VECTORS),
    ("max_pool_bwd_x4_f32", VECTORS),
    ("average_pool_fwd_x4_f32", VECTORS),
    ("average_pool_bwd_x4_f32", VECTORS),
    ("adaptive_average_pool_fwd_x4_f32", VECTORS),
    ("adaptive_average_pool_bwd_x4_f32", VECTORS),
    ("squeeze_excite_gates_fwd_x4_f32", &["LDG.E.128"]),
    ("squeeze_excite_apply_fwd_x4_f32", VECTORS),
    ("squeeze_excite_gates_bwd_x4_f32", &["LDG.E.128"]),
    ("squeeze_excite_input_bwd_x4_f32", VECTORS),
    ("elementwise_relu_fwd_f32", VECTORS),
    ("elementwise_relu_bwd_f32", VECTORS),
    ("elementwise_add_f32", VECTORS),
    ("reduce_columns_f32", &["LDG.E.128"]),
    ("reduce_rows_f32", &["LDG.E.128"]),
    ("depthwise_3_fwd_f32", VECTORS),
    ("depthwise_3_dx_bwd_f32", VECTORS),
    ("depthwise_3_dw_bwd_f32", &["LDG.E.128"]),
    ("dropout_f32", VECTORS),
    ("embedding_fwd_f32", VECTORS),
    ("embedding_sums_f32", &["LDG.E.128"]),
    ("elementwise_relu_fwd_bf16", VECTORS),
    ("elementwise_relu_bwd_bf16", VECTORS),
    ("elementwise_add_bf16", VECTORS),
    ("elementwise_add_bias_bf16", VECTORS),
    ("elementwise_cast_f32", VECTORS),
    ("elementwise_cast_bf16", VECTORS),
    ("reduce_columns_bf16", &["LDG.E.128"]),
    ("reduce_rows_bf16", &["LDG.E.128"]),
    ("batch_norm_statistics_x8_bf16", &["LDG.E.128"]),
    ("batch_norm_apply_x8_bf16", VECTORS),
    ("batch_norm_sums_x8_bf16", &["LDG.E.128"]),
    ("batch_norm_input_gradient_x8_bf16", VECTORS),
    ("max_pool_fwd_x8_bf16", VECTORS),
    ("max_pool_bwd_x8_bf16", VECTORS),
    ("average_pool_fwd_x8_bf16", VECTORS),
    ("average_pool_bwd_x8_bf16", VECTORS),
    ("adaptive_average_pool_fwd_x8_bf16", VECTORS),
    ("adaptive_average_pool_bwd_x8_bf16", VECTORS),
    ("squeeze_excite_gates_fwd_x8_bf16", &["LDG.E.128"]),
    ("squeeze_excite_apply_fwd_x8_bf16", VECTORS),
    ("squeeze_excite_gates_bwd_x8_bf16", &["LDG.E.128"]),
    ("squeeze_excite_input_bwd_x8_bf16", VECTORS),
    ("depthwise_3_fwd_bf16", VECTORS),
    ("depthwise_3_dx_bwd_bf16", VECTORS),
    ("depthwise_3_dw_bwd_bf16", &["LDG.E.128"]),
    ("depthwise_8_fwd_bf16", VECTORS),
    ("dropout_bf16", VECTORS),
    ("embedding_fwd_bf16", VECTORS),
    ("embedding_sums_bf16", &["LDG.E.128"]),
    ("classifiers_operands_bwd_bf16", VECTORS),
    ("classifiers_chosen_fwd_f32", &["STG.E.128"]),
    ("clip_squares_f32", &["LDG.E.128"]),
];

const VECTORS: &[&str] = &["LDG.E.128", "STG.E.128"];

/// Where cuobjdump is; `None`, and a word about it, where this cannot be tested.
fn cuobjdump() -> Option<String> {
    if fat_binaries().is_empty() {
        assert!(
            std::env::var_os("NVCC").is_none(),
            "NVCC is set, and the program carries no kernels"
        );
        eprintln!("skipped: the program carries no kernels for GPUs");
        return None;
    }
    if let Ok(given) = std::env::var("CUOBJDUMP") {
        return Some(given);
    }
    let is_there = Command::new("cuobjdump").arg("--version").output().is_ok();
    if !is_there {
        eprintln!("skipped: no cuobjdump");
    }
    is_there.then(|| "cuobjdump".to_owned())
}

/// What cuobjdump says of a family's fat binary.
fn dump(program: &str, arguments: &[&str], family: &str, binary: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("{family}.fatbin"));
    std::fs::write(&file, binary).unwrap();
    // It looks for nvdisasm, which wheels put beside it, on the path alone.
    let beside = Path::new(program).parent().unwrap_or(Path::new("."));
    let output = Command::new(program)
        .env("NVDISASM_PATH", beside)
        .args(arguments)
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{family}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything after `key` in a line of resources, up to the next blank, as a number.
fn resource(line: &str, key: &str) -> usize {
    let rest = line.split(key).nth(1).unwrap_or_else(|| panic!("{key} is not in {line}"));
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// A line for each kernel and architecture; panics where one keeps anything in local memory.
fn resources(program: &str) -> String {
    let mut lines = Vec::new();
    let loops = [80, 90].map(|arch| (arch, machine_code(program, arch)));
    let pass = |arch: &str, kernel: &str| {
        let of_arch = loops.iter().find(|(own, _)| arch == format!("sm_{own}"));
        let (_, code) = of_arch.unwrap_or_else(|| panic!("{arch} is not looked at"));
        listing::pass(&code[kernel], products(kernel))
    };
    for (family, binary) in fat_binaries() {
        let text = dump(program, &["-res-usage"], family, binary);
        let (mut arch, mut kernel) = ("", "");
        for line in text.lines().map(str::trim) {
            if let Some(own) = line.strip_prefix("arch = ") {
                arch = own;
            } else if let Some(own) = line.strip_prefix("Function ") {
                kernel = own.trim_end_matches(':');
            } else if line.starts_with("REG:") {
                let [stack, local] = ["STACK:", "LOCAL:"].map(|key| resource(line, key));
                assert_eq!(
                    (stack, local),
                    (0, 0),
                    "{kernel} on {arch}: stack and local memory, {line}"
                );
                let [registers, shared] = ["REG:", "SHARED:"].map(|key| resource(line, key));
                let pass = pass(arch, kernel);
                lines.push(format!(
                    "{arch} {kernel} registers {registers} shared {shared} pass {pass}"
                ));
            }
        }
    }
    lines.sort();
    lines.join("\n") + "\n"
}

/// The products in a pass of the kernels that step through slabs, by their tiles (`tiles.rs`): of a warp on tensor cores, or of
/// a thread in f32.
fn products(kernel: &str) -> Option<u32> {
    let tile: u32 = kernel.split('_').find_map(|word| word.parse().ok())?;
    match kernel.split('_').next()? {
        // [64, depth] by [depth, 64] for four warps, 2,048 operations each.
        "many" => Some(tile),
        "conv2d" | "matmul" if !kernel.ends_with("_f32") => Some(tile / 2),
        "conv2d" | "matmul" => Some(if tile == 128 { 1024 } else { 512 }),
        _ => None,
    }
}

#[test]
fn no_kernel_spills_and_resources_are_as_they_were() {
    let Some(program) = cuobjdump() else { return };
    let own = resources(&program);
    let path = source().join(PINNED);
    if std::env::var_os("ALRAO_WRITE_RESOURCES").is_some() {
        std::fs::write(&path, &own).unwrap();
    }
    let pinned = std::fs::read_to_string(&path).unwrap();
    let changed: Vec<&str> =
        own.lines().filter(|line| !pinned.lines().any(|other| is_as_pinned(line, other))).collect();
    let is_complete = own.lines().count() == pinned.lines().count();
    assert!(changed.is_empty() && is_complete, "not as in {PINNED}: {changed:#?}");
}

/// The counts that nvcc varies.
const VARYING: [&str; 3] = ["slots", "shared", "wavefronts"];

/// Whether a line is as pinned; accesses to shared memory, their wavefronts and with them the slots may differ by 1 % of the
/// slots. nvcc 13.0.88 compiles the same file differently from one run to the next: `conv2d_64_dw_bwd_f32` has 48 or 49 loads
/// of shared memory, unless addresses are not randomised (`setarch -R`).
fn is_as_pinned(line: &str, pinned: &str) -> bool {
    let Some(((own, own_pass), (other, other_pass))) =
        line.split_once(" pass ").zip(pinned.split_once(" pass "))
    else {
        return false;
    };
    let slots = resource(pinned, "slots ");
    let words: [Vec<&str>; 2] = [own_pass, other_pass].map(|pass| pass.split(' ').collect());
    let is_near = |(own, other): (&[&str], &[&str])| match (own, other) {
        ([name, own], [other_name, other]) if VARYING.contains(name) => {
            let [own, other] = [own, other].map(|count| count.parse::<usize>().unwrap());
            name == other_name && own.abs_diff(other) * 100 <= slots
        }
        _ => own == other,
    };
    own == other
        && words[0].len() == words[1].len()
        && words[0].chunks(2).zip(words[1].chunks(2)).all(is_near)
}

#[test]
fn accesses_to_shared_memory_may_differ_by_one_percent_of_the_slots() {
    let pinned = "sm_80 own registers 95 shared 512 pass slots 400 fp32 396 shared 4";
    for (own, is_near) in [
        ("sm_80 own registers 95 shared 512 pass slots 404 fp32 396 shared 8", true),
        ("sm_80 own registers 95 shared 512 pass slots 405 fp32 396 shared 9", false),
        ("sm_80 own registers 95 shared 512 pass slots 400 fp32 395 shared 4", false),
        ("sm_80 own registers 96 shared 512 pass slots 400 fp32 396 shared 4", false),
        ("sm_80 own registers 95 shared 512 pass slots 400 fp32 396 global 4", false),
        ("sm_90 own registers 95 shared 512 pass slots 400 fp32 396 shared 4", false),
    ] {
        assert_eq!(is_as_pinned(own, pinned), is_near, "{own}");
    }
}

/// The tables of docs/kernels say how many registers a kernel has on sm_90.
#[test]
fn pages_say_what_is_pinned() {
    let pinned = std::fs::read_to_string(source().join(PINNED)).unwrap();
    let pinned: BTreeMap<&str, &str> = pinned
        .lines()
        .filter_map(|line| line.strip_prefix("sm_90 ")?.split_once(" registers "))
        .map(|(kernel, rest)| (kernel, rest.split(' ').next().unwrap_or_default()))
        .collect();
    let mut seen = 0;
    for page in std::fs::read_dir(source().join("docs/kernels")).unwrap() {
        let page = page.unwrap().path();
        for line in std::fs::read_to_string(&page).unwrap().lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, kernel, registers, ..] = cells[..] else { continue };
            let kernel = kernel.strip_prefix('`').and_then(|own| own.strip_suffix('`'));
            let Some(own) = kernel.and_then(|kernel| pinned.get(kernel)) else { continue };
            assert_eq!(registers, *own, "{}: {line}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} rows of the pages name a kernel");
}

type Code = BTreeMap<String, String>;

/// The machine code of each kernel on sm_80 or sm_90. The listings take half a minute, so they are made once.
fn machine_code(program: &str, arch: u32) -> &'static Code {
    static ALL: [OnceLock<Code>; 2] = [const { OnceLock::new() }; 2];
    ALL[usize::from(arch == 90)].get_or_init(|| {
        let mut code = Code::new();
        for (family, binary) in fat_binaries() {
            let text = dump(program, &["-sass", "-arch", &format!("sm_{arch}")], family, binary);
            for function in text.split("Function : ").skip(1) {
                let (name, body) = function.split_once('\n').unwrap();
                code.insert(name.trim().to_owned(), body.to_owned());
            }
        }
        code
    })
}

#[test]
fn streaming_kernels_move_16_bytes_and_matrix_kernels_use_tensor_cores() {
    let Some(program) = cuobjdump() else { return };
    let code = machine_code(&program, 90);
    for (kernel, instructions) in EXPECTED {
        let own = code.get(*kernel).unwrap_or_else(|| panic!("there is no kernel {kernel}"));
        for instruction in *instructions {
            assert!(own.contains(instruction), "{kernel} has no {instruction}");
        }
    }
    for kernel in ["softmax_fwd", "mixture_fwd", "input_fwd", "weight_bwd"] {
        for depth in [64, 128] {
            let kernel = format!("many_classes_{depth}_{kernel}_tf32");
            // The rows pass through registers, where they are rounded.
            for instruction in ["HMMA.1688.F32.TF32", "LDSM.16.M88.4", "LDG.E.128", "STS.128"] {
                assert!(code[&kernel].contains(instruction), "{kernel} has no {instruction}");
            }
        }
    }
    // A side whose inner axis is contiguous is read by ldmatrix; these have none, and read bf16 by ldmatrix.trans.
    let has_no_inner_axis = |kernel: &str| kernel.contains("_tn_") || kernel.contains("_dw_");
    let products = code.iter().filter(|(kernel, _)| {
        (kernel.starts_with("matmul") || kernel.starts_with("conv2d"))
            && !kernel.starts_with("matmul_sum")
    });
    for (kernel, own) in products {
        let (is_tf32, is_bf16) = (kernel.ends_with("_tf32"), kernel.ends_with("_bf16"));
        // B is transposed, and with it both sides are read along the inner axis.
        let has_inner_axes = kernel.contains("_nt_") || kernel.contains("_fwd_");
        let expected = [
            ("LDGSTS.E.BYPASS.128", true),
            ("HMMA.1688.F32.TF32", is_tf32),
            ("HMMA.16816.F32.BF16", is_bf16),
            ("LDSM.16.M88.4", (is_tf32 || is_bf16) && !has_no_inner_axis(kernel)),
            ("LDSM.16.MT88.4", is_bf16 && !has_inner_axes),
        ];
        for (instruction, is_expected) in expected {
            let is_there = own.contains(instruction);
            assert!(is_there || !is_expected, "{kernel} has no {instruction}");
        }
    }
}
