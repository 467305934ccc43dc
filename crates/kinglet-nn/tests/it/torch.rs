//! PyTorch files written by hand: what is read, and what is refused.

use crate::torch_writer::{Pickle, Tensor, archive, archive64, old_format};
use kinglet_nn::{Model, WeightsFile};
use kinglet_spec::ResolveOptions;
use std::path::Path;

fn parse(bytes: &[u8]) -> Result<WeightsFile, String> {
    WeightsFile::parse(bytes, Path::new("x.pt")).map_err(|error| error.to_string())
}

/// Why a pickle in an archive is refused.
fn refused(pickle: &[u8]) -> String {
    parse(&archive(&[("data.pkl", pickle)])).unwrap_err()
}

const F32: Tensor<'_> = Tensor { storage: "FloatStorage", key: "0", shape: &[2, 3], len: None };

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A model file of one convolution and a head of one level, as the pickled model keeps it.
fn yaml(p: Pickle, module: &str) -> Pickle {
    let row = |p: Pickle, from: i64, module: &str, args: &dyn Fn(Pickle) -> Pickle| {
        args(p.raw(b"](").int(from).int(1).text(module)).raw(b"e")
    };
    p.text("yaml").dict(|p| {
        let p = p.text("nc").int(2).text("depth_multiple").float(0.33).text("width_multiple").int(1);
        let p = p.text("anchors").raw(b"](](").int(10).int(13).raw(b"ee");
        let p = p.text("backbone").raw(b"](");
        let p = row(p, -1, module, &|p| p.raw(b"](").int(8).raw(b"e")).raw(b"e");
        let p = p.text("head").raw(b"](");
        row(p, 0, "Detect", &|p| p.list(&["nc", "anchors"])).raw(b"e")
    })
}

/// A module with parameters, modules and other attributes.
fn module(p: Pickle, class: [&str; 2], inside: impl FnOnce(Pickle) -> Pickle) -> Pickle {
    p.object(class[0], class[1], inside)
}

/// A checkpoint of YOLOv5: one convolution, a head whose anchors (in cells) were computed from data. `change` is written
/// behind the attributes of the model, `names` are its class names.
fn checkpoint(names: impl FnOnce(Pickle) -> Pickle, block: &str, act: &str, csp_act: &str) -> Vec<u8> {
    let act_of = |p: Pickle, class: &str| {
        p.text("_modules").dict(|p| {
            p.text("act").object("torch.nn.modules.activation", class, |p| p.text("negative_slope").float(0.1))
        })
    };
    let weight = Tensor { storage: "FloatStorage", key: "0", shape: &[2, 3], len: None };
    let anchors = Tensor { storage: "HalfStorage", key: "1", shape: &[1, 1, 2], len: None };
    let stride = Tensor { storage: "FloatStorage", key: "2", shape: &[1], len: None };
    let model = |p: Pickle| {
        let p = yaml(p, block).text("yaml_file").text("/home/me/tiny.yaml");
        let p = names(p.text("names"));
        p.text("_modules").dict(|p| {
            let p = p.text("model");
            module(p, ["torch.nn.modules.container", "Sequential"], |p| {
                p.text("_modules").dict(|p| {
                    let p = p.text("0").object("models.common", "Conv", |p| {
                        let p = act_of(p, act);
                        p.text("_parameters").dict(|p| p.text("weight").tensor(&weight))
                    });
                    let p = p.text("1").object("models.common", "BottleneckCSP", |p| act_of(p, csp_act));
                    p.text("2").object("models.yolo", "Detect", |p| {
                        let p = p.text("nc").int(2).text("stride").tensor(&stride);
                        p.text("_buffers").dict(|p| p.text("anchors").tensor(&anchors))
                    })
                })
            })
        })
    };
    let pickle = Pickle::new().dict(|p| {
        let p = p.text("epoch").int(4).text("model").raw(b"N");
        p.text("ema").object("models.yolo", "Model", model)
    });
    // Halves: 1.5 and 2.25.
    let anchors = [0x3e00u16, 0x4080].map(u16::to_le_bytes).concat();
    let (weight, stride) = (floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), floats(&[8.0]));
    archive(&[("data.pkl", &pickle.end()), ("data/0", &weight), ("data/1", &anchors), ("data/2", &stride)])
}

fn two_names(p: Pickle) -> Pickle {
    p.list(&["cat", "dog"])
}

#[test]
fn a_checkpoint_gives_its_weights_model_file_names_and_anchors() {
    let file = parse(&checkpoint(two_names, "Conv", "SiLU", "SiLU")).unwrap();
    assert_eq!(file.tensors["model.0.weight"], (vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let info = file.torch.unwrap();
    assert_eq!((info.part.as_str(), info.epoch), ("ema", Some(4)));
    assert_eq!(info.left_out, ["1 buffers of the head"]);
    let model = info.model.unwrap();
    assert_eq!((model.class.as_str(), model.file.as_str()), ("models.yolo.Model", "tiny.yaml"));
    assert_eq!(model.names, ["cat", "dog"]);
    // 1.5 and 2.25 cells of 8 pixels: the buffer counts, not the model file's 10 x 13.
    assert_eq!((model.anchors, model.strides), (vec![vec![[12.0, 18.0]]], vec![8.0]));
    let expected = "nc: 2\ndepth_multiple: 0.33\nwidth_multiple: 1\nanchors:\n  - [10, 13]\nbackbone:\n  \
                    - [-1, 1, Conv, [8]]\nhead:\n  - [0, 1, Detect, [nc, anchors]]\n";
    assert_eq!(model.yaml, expected);
    Model::from_yaml(&model.yaml, &model.file, &ResolveOptions::default()).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn names_may_be_a_mapping_from_numbers_in_any_order() {
    let names = |p: Pickle| p.dict(|p| p.int(1).text("dog").int(0).text("cat"));
    let file = parse(&checkpoint(names, "Conv", "SiLU", "SiLU")).unwrap();
    assert_eq!(file.torch.unwrap().model.unwrap().names, ["cat", "dog"]);
    let error = parse(&checkpoint(|p| p.list(&["cat"]), "Conv", "SiLU", "SiLU")).unwrap_err();
    assert!(error.contains("a head of 2 classes and not as many class names"), "{error}");
}

#[test]
fn activations_of_old_versions_go_into_the_model_file() {
    let text = |act, csp| {
        let file = parse(&checkpoint(two_names, "BottleneckCSP", act, csp)).unwrap();
        file.torch.unwrap().model.unwrap().yaml
    };
    let old = text("LeakyReLU", "LeakyReLU");
    assert!(old.contains("activation: nn.LeakyReLU(0.1)\n") && old.contains("[-1, 1, BottleneckCSP, [8]]"), "{old}");
    // YOLOv5 3.0: h-swish in the convolutions, leaky ReLU behind the joined branches.
    let mixed = text("Hardswish", "LeakyReLU");
    assert!(mixed.contains("activation: nn.Hardswish()\n"), "{mixed}");
    assert!(mixed.contains("[-1, 1, BottleneckCSP, [8, True, 1, 0.5, nn.LeakyReLU(0.1)]]"), "{mixed}");
    Model::from_yaml(&mixed, "mixed", &ResolveOptions::default()).unwrap_or_else(|e| panic!("{e}"));
}

/// A state dict with one tensor.
fn state_dict(storage: &str, shape: &[usize]) -> Vec<u8> {
    let tensor = Tensor { storage, key: "0", shape, len: None };
    Pickle::new().dict(|p| p.text("module.w").tensor(&tensor)).end()
}

#[test]
fn every_floating_point_type_is_widened() {
    // 1.5, -2 and 2^-24 (the smallest half), and what each type makes of them.
    let cases: [(&str, Vec<u8>, [f32; 3]); 4] = [
        ("HalfStorage", [0x3e00u16, 0xc000, 1].map(u16::to_le_bytes).concat(), [1.5, -2.0, 2f32.powi(-24)]),
        ("BFloat16Storage", [0x3fc0u16, 0xc000, 0x3380].map(u16::to_le_bytes).concat(), [1.5, -2.0, 2f32.powi(-24)]),
        ("FloatStorage", floats(&[1.5, -2.0, 2f32.powi(-24)]), [1.5, -2.0, 2f32.powi(-24)]),
        ("DoubleStorage", [1.5f64, -2.0, 2f64.powi(-24)].map(f64::to_le_bytes).concat(), [1.5, -2.0, 2f32.powi(-24)]),
    ];
    for (storage, bytes, expected) in cases {
        let pickle = state_dict(storage, &[3]);
        let len = 3;
        let both = [archive(&[("data.pkl", &pickle), ("data/0", &bytes)]), old_format(&pickle, &[("0", len, &bytes)])];
        for file in both {
            let read = parse(&file).unwrap_or_else(|error| panic!("{storage}: {error}"));
            // The prefix of models on several devices is taken off.
            assert_eq!(read.tensors["w"], (vec![3], expected.to_vec()), "{storage}");
        }
    }
}

#[test]
fn newer_protocols_with_frames_and_their_memo_are_read() {
    // {"w": tensor} with STACK_GLOBAL, MEMOIZE and BINGET, as protocol 4 writes it.
    let short = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes()].concat();
    let global = |module: &str, name: &str| [short(module), short(name), b"\x93\x94".to_vec()].concat();
    let pickle = [
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}\x94".to_vec(),
        short("w"),
        b"\x94".to_vec(),
        global("torch._utils", "_rebuild_tensor_v2"),
        b"((".to_vec(),
        short("storage"),
        global("torch", "FloatStorage"),
        short("0"),
        short("cpu"),
        b"K\x02t\x94QK\x00K\x02\x85\x94K\x01\x85\x89".to_vec(),
        global("collections", "OrderedDict"),
        b")R\x94tRs.".to_vec(),
    ];
    let file = parse(&archive(&[("data.pkl", &pickle.concat()), ("data/0", &floats(&[7.0, 8.0]))])).unwrap();
    assert_eq!(file.tensors["w"], (vec![2], vec![7.0, 8.0]));
}

#[test]
fn a_transposed_tensor_is_read_in_the_order_of_its_shape() {
    let pickle = Pickle::new().dict(|p| {
        let p = p.text("w").global("torch._utils", "_rebuild_tensor_v2").raw(b"((").text("storage");
        let p = p.global("torch", "FloatStorage").text("0").text("cpu").int(7).raw(b"tQK\x01").ints(&[3, 2]);
        p.ints(&[1, 3]).raw(b"\x89N").raw(b"tR")
    });
    let file = archive(&[("data.pkl", &pickle.end()), ("data/0", &floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))]);
    // Rows of [[1, 2, 3], [4, 5, 6]] transposed, one number into the storage.
    assert_eq!(parse(&file).unwrap().tensors["w"], (vec![3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
}

#[test]
fn imports_that_no_model_needs_are_refused_by_name_and_place() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("runpy", "_run_code"),
        ("modelsx", "Model"),
        ("numpy.testing._private.utils", "runstring"),
    ] {
        // Protocol 2: two bytes, then the import.
        let text = format!("`{module}.{name}` (byte 2 of its pickle)");
        let call = Pickle::new().global(module, name).raw(b"(").text("touch hacked").raw(b"tR");
        let error = refused(&call.end());
        assert!(error.contains(&text) && error.contains("Nothing was run"), "{error}");
        // The same through the stack, behind two texts: 2 + 2 x (5 + length).
        let at = 12 + module.len() + name.len();
        let error = refused(&Pickle::new().text(module).text(name).raw(b"\x93").end());
        assert!(error.contains(&format!("`{module}.{name}` (byte {at} of its pickle)")), "{error}");
    }
    // In the old format, the place counts from the beginning of the file.
    let file = old_format(&Pickle::new().global("os", "system").end(), &[]);
    let at = file.windows(4).position(|w| w == b"cos\n").unwrap();
    let error = parse(&file).unwrap_err();
    assert!(error.contains(&format!("`os.system` (byte {at} of its pickle)")), "{error}");
}

#[test]
fn calls_of_classes_run_nothing_and_give_no_weights() {
    let pickle = Pickle::new().global("models.common", "Conv").raw(b"(").text("rm -rf").raw(b"tR").end();
    assert!(refused(&pickle).contains("a model of class `models.common.Conv` without its model file"));
    assert!(refused(&Pickle::new().text("eval").raw(b")R").end()).contains("an imported name is expected"));
    assert!(refused(&Pickle::new().raw(b"i").end()).contains("opcode 0x69 is none that PyTorch writes"));
}

#[test]
fn claims_of_gigabytes_ask_for_no_memory() {
    let huge = 10_000_000_000i64;
    let text = refused(&Pickle::new().raw(b"\x8d").raw(&huge.to_le_bytes()).raw(b"abc").end());
    assert!(text.contains("more bytes are expected (10000000000), the pickle ends after 4"), "{text}");
    let storage = Tensor { len: Some(huge), ..F32 };
    let pickle = Pickle::new().dict(|p| p.text("w").tensor(&storage)).end();
    let file = archive(&[("data.pkl", &pickle), ("data/0", &floats(&[0.0; 6]))]);
    let error = parse(&file).unwrap_err();
    assert!(error.contains("tensor `w`: claims a storage of 10000000000 numbers"), "{error}");
    let error = parse(&old_format(&pickle, &[("0", huge as u64, &[0; 24])])).unwrap_err();
    assert!(error.contains("the storage `0` of 10000000000 numbers is expected"), "{error}");
    // As many floats as make the bytes, with those of the length before them, begin again at zero.
    let wrapping = (1i64 << 62) - 1;
    let pickle = Pickle::new().dict(|p| p.text("w").tensor(&Tensor { len: Some(wrapping), ..F32 })).end();
    let error = parse(&old_format(&pickle, &[("0", wrapping as u64, &[0; 24])])).unwrap_err();
    assert!(error.contains("numbers is expected"), "{error}");
    // A shape of 10^10 with strides of nothing fits its storage; what it would become does not.
    let pickle = Pickle::new().dict(|p| {
        let p = p.text("w").global("torch._utils", "_rebuild_tensor_v2").raw(b"((").text("storage");
        let p = p.global("torch", "FloatStorage").text("0").text("cpu").int(1).raw(b"tQK\x00");
        p.ints(&[100_000, 100_000]).ints(&[0, 0]).raw(b"\x89NtR")
    });
    let error = parse(&archive(&[("data.pkl", &pickle.end()), ("data/0", &floats(&[1.0]))])).unwrap_err();
    assert!(error.contains("tensor `w`") && error.contains("one number for each byte"), "{error}");
    let error = refused(
        &Pickle::new().dict(|p| p.text("w").tensor(&Tensor { shape: &[1 << 40, 1 << 40], len: Some(1), ..F32 })).end(),
    );
    assert!(error.contains("storage `0` is missing"), "{error}");
}

#[test]
fn safetensors_that_claim_gigabytes_ask_for_no_memory() {
    let file = |claim: u64, header: &str| [&claim.to_le_bytes(), header.as_bytes(), &[0; 8]].concat();
    let told = |claim: u64, header: &str| parse(&file(claim, header)).unwrap_err();
    assert!(told(10_000_000_000, "{}").contains("neither a safetensors file nor one of PyTorch's"));
    let whole = |header: &str| told(header.len() as u64, header);
    let entry = |shape: &str, end: &str| {
        format!("{{\"w\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[0,{end}]}}}}")
    };
    parse(&file(entry("[2]", "8").len() as u64, &entry("[2]", "8"))).unwrap();
    for (shape, end) in [
        ("[2500000000]", "10000000000"),
        ("[2500000000]", "8"),
        ("[4294967296,4294967296]", "8"),
        ("[18446744073709551615,2]", "8"),
        ("[2]", "18446744073709551615"),
        ("[-2]", "8"),
    ] {
        assert!(whole(&entry(shape, end)).contains("is a damaged safetensors file"), "{shape}");
    }
    // Lists within lists, far beyond any stack.
    assert!(whole(&"[".repeat(1_000_000)).contains("neither a safetensors file"));
}

#[test]
fn files_that_are_cut_or_stand_for_others_say_so() {
    let header = "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat();
    parse(&file).unwrap();
    let cases = [
        (
            9,
            "is a damaged safetensors file: its end is missing, as when a download or a copy broke off; copy or download",
        ),
        (file.len() - 9, "is a damaged safetensors file: its end is missing"),
        (file.len() - 8, "is a damaged safetensors file: it has not the size that its header says"),
        (file.len() - 1, "is a damaged safetensors file: it has not the size that its header says"),
        (0, "is neither a safetensors file nor one of PyTorch's: it is empty"),
    ];
    for (len, expected) in cases {
        let error = parse(&file[..len]).unwrap_err();
        assert!(error.contains(expected), "{len}: {error}");
    }
    let pointer = parse(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n").unwrap_err();
    assert!(pointer.ends_with("fetch that with `git lfs pull`"), "{pointer}");
    let page = parse(b"\n<!DOCTYPE html>").unwrap_err();
    assert!(page.ends_with("it is a web page, as where a download needs a login"), "{page}");
}

#[test]
fn endless_pickles_meet_limits() {
    // Values, marks, copies of a list.
    assert!(refused(&Pickle::new().raw(&b"N0".repeat(1_000_001)).end()).contains("exceeds the limit"));
    assert!(refused(&Pickle::new().raw(&b"(".repeat(1_000_001)).end()).contains("exceeds the limit"));
    let list = Pickle::new().raw(b"](").raw(&b"K\x01".repeat(10_000)).raw(b"eq\x010");
    let copies = (0..1000).fold(list, |p, _| p.global("__builtin__", "set").raw(b"(h\x01tR0"));
    assert!(refused(&copies.end()).contains("exceeds the limit"));
}

#[test]
fn values_that_contain_themselves_end() {
    // A list within itself is no state dict; a module within itself is endless.
    assert!(refused(b"\x80\x02]q\x00h\x00a.").contains("holds no weights"));
    let module = Pickle::new().global("models.yolo", "Model").raw(b")\x81q\x00}(").text("_modules").raw(b"}(");
    let error = refused(&module.text("a").raw(b"h\x00").text("b").raw(b"h\x00").raw(b"uub").end());
    assert!(error.contains("the checkpoint's model exceeds the limit"), "{error}");
    // A model file that doubles with every level: 2^60 numbers in a few bytes.
    let mut rows = Pickle::new().raw(b"](K\x01eq\x000");
    for level in 0..60u8 {
        rows = rows.raw(&[b']', b'(', b'h', level, b'h', level, b'e', b'q', level + 1, b'0']);
    }
    let tensor = Tensor { shape: &[1, 1, 2], ..F32 };
    let model = rows.object("models.yolo", "Model", |p| {
        let p = p.text("yaml").dict(|p| p.text("backbone").raw(&[b'h', 60])).text("_modules");
        p.dict(|p| {
            p.text("2").object("models.yolo", "Detect", |p| {
                let p = p.text("nc").int(1).text("stride").tensor(&Tensor { key: "1", shape: &[1], ..F32 });
                p.text("_buffers").dict(|p| p.text("anchors").tensor(&tensor))
            })
        })
    });
    let file = archive(&[("data.pkl", &model.end()), ("data/0", &floats(&[1.0; 2])), ("data/1", &floats(&[8.0]))]);
    let error = parse(&file).unwrap_err();
    assert!(error.contains("the checkpoint's model file exceeds the limit"), "{error}");
}

#[test]
fn archives_that_lie_are_refused() {
    let pickle = state_dict("FloatStorage", &[6]);
    let (name, data) = ("data/0", floats(&[1.0; 6]));
    let good = archive(&[("data.pkl", &pickle), (name, &data)]);
    parse(&good).unwrap();
    let directory = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let change = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        parse(&file).unwrap_err()
    };
    // Compressed, as a bomb is: method 8 in the first entry of the directory.
    let error = change(directory + 10, &[8]);
    assert!(error.contains("`archive/data.pkl` is compressed"), "{error}");
    // Both sizes 3 GB.
    let huge = 3_000_000_000u32.to_le_bytes();
    let error = change(directory + 20, &[huge, huge].concat());
    assert!(error.contains("`archive/data.pkl` claims 3000000000 bytes"), "{error}");
    // A flipped bit of a weight.
    let weights = good.windows(data.len()).position(|w| w == data).unwrap();
    let error = change(weights, &[1]);
    assert!(error.contains("the checksum of `archive/data/0`"), "{error}");
    // One entry named many times.
    let entry = &good[directory..directory + 46 + "archive/data.pkl".len()];
    let mut file = good[..directory].to_vec();
    let count = 50u16;
    (0..count).for_each(|_| file.extend_from_slice(entry));
    let size = (u32::from(count) * entry.len() as u32).to_le_bytes();
    file.extend(
        [
            &b"PK\x05\x06\0\0\0\0"[..],
            &count.to_le_bytes(),
            &count.to_le_bytes(),
            &size,
            &(directory as u32).to_le_bytes(),
            &[0, 0],
        ]
        .concat(),
    );
    assert!(parse(&file).unwrap_err().contains("overlap"));
    assert!(parse(&archive(&[("readme.txt", b"hello")])).unwrap_err().contains("without `data.pkl`"));
}

#[test]
fn archives_of_64_bits_are_read() {
    // A file of one entry: the pickle is found, its storage is not.
    let good = archive64("x/data.pkl", &state_dict("FloatStorage", &[6]));
    assert!(parse(&good).unwrap_err().contains("tensor `w`: its storage `0` is missing"));
    for len in 0..good.len() {
        assert!(!parse(&good[..len]).unwrap_err().contains("its storage"), "cut at {len}");
    }
}

#[test]
fn files_cut_or_damaged_anywhere_give_an_error_and_never_panic() {
    let pickle = state_dict("FloatStorage", &[6]);
    let data = floats(&[1.0; 6]);
    let mut safetensors = WeightsFile::default();
    safetensors.insert("w", &[6], &[1.0; 6]);
    let files = [
        checkpoint(two_names, "Conv", "SiLU", "SiLU"),
        old_format(&pickle, &[("0", 6, &data)]),
        safetensors.to_bytes().unwrap(),
    ];
    for (kind, good) in files.iter().enumerate() {
        parse(good).unwrap();
        for len in 0..good.len() {
            assert!(parse(&good[..len]).is_err(), "file {kind} cut at {len}");
        }
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut file = good.clone();
                file[at] ^= flip;
                // Some bytes carry no meaning; what counts is that every one gives an answer.
                let _ = parse(&file);
            }
        }
    }
}

#[test]
fn damaged_pickles_behind_good_checksums_never_panic() {
    let good = checkpoint(two_names, "Conv", "SiLU", "SiLU");
    let start = good.windows(2).position(|w| w == b"\x80\x02").unwrap();
    let end = good.windows(4).skip(start).position(|w| w == b"PK\x03\x04").unwrap() + start;
    let pickle = &good[start..end];
    let data = [floats(&[1.0; 6]), vec![0x00, 0x3e, 0x80, 0x40], floats(&[8.0])];
    for at in 0..pickle.len() {
        for flip in [0x01, 0x02, 0x40, 0x80, 0xff] {
            let mut pickle = pickle.to_vec();
            pickle[at] ^= flip;
            let entries = [("data.pkl", &pickle), ("data/0", &data[0]), ("data/1", &data[1]), ("data/2", &data[2])];
            let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, data)| (*name, data.as_slice())).collect();
            let _ = parse(&archive(&entries));
        }
    }
}

#[test]
fn a_safetensors_file_is_recognised_whatever_the_length_of_its_header() {
    // 0x0280 in little-endian order is how a pickle of protocol 2 begins.
    let header = 0x280;
    let file = (1..header).find_map(|padding| {
        let mut file = WeightsFile::default();
        file.insert("w", &[1], &[3.0]);
        file.metadata.insert("padding".into(), "x".repeat(padding));
        Some(file.to_bytes().unwrap()).filter(|bytes| bytes.starts_with(b"\x80\x02"))
    });
    assert_eq!(parse(&file.unwrap()).unwrap().tensors["w"].1, [3.0]);
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let pickle = state_dict("FloatStorage", &[3]);
    let file = archive(&[("data.pkl", &pickle), ("data/0", &floats(&[1.0, f32::NAN, f32::INFINITY]))]);
    let error = parse(&file).unwrap_err();
    assert!(error.contains("tensor `w` has 2 of 3 values that are not finite (the first is number 1)"), "{error}");
}

#[test]
fn modules_within_modules_and_lists_within_lists_meet_no_stack() {
    let open = |p: Pickle| p.global("models.yolo", "Model").raw(b")\x81}(").text("_modules").raw(b"}(").text("a");
    let deep = (0..20_000).fold(Pickle::new(), |p, _| open(p)).raw(b"N").raw(&b"uub".repeat(20_000));
    assert!(refused(&deep.end()).contains("exceeds the limit"));
    let lists = Pickle::new().raw(&b"](".repeat(200_000)).raw(&b"e".repeat(200_000));
    assert!(refused(&lists.end()).contains("holds no weights"));
}

#[test]
fn a_module_named_again_and_again_meets_a_limit() {
    // 1,000 names of one tensor in a module that has 200 names.
    let parameters = |p: Pickle| {
        let p = p.text("t0").tensor(&F32).raw(b"q\x70");
        (1..1000).fold(p, |p, i| p.text(&format!("t{i}")).raw(b"h\x70"))
    };
    let modules = |p: Pickle| {
        let p = p.text("m0");
        let p = p.object("models.common", "Conv", |p| p.text("_parameters").dict(parameters)).raw(b"q\x71");
        (1..200).fold(p, |p, i| p.text(&format!("m{i}")).raw(b"h\x71"))
    };
    let pickle = Pickle::new().object("models.yolo", "Model", |p| p.text("_modules").dict(modules)).end();
    let error = parse(&archive(&[("data.pkl", &pickle), ("data/0", &floats(&[0.0; 6]))])).unwrap_err();
    assert!(error.contains("exceeds the limit of 100000 tensors"), "{error}");
    let long = "n".repeat(2000);
    let named = |p: Pickle| p.text(&long).tensor(&F32);
    let pickle = Pickle::new().object("models.yolo", "Model", |p| p.text("_parameters").dict(named)).end();
    let error = parse(&archive(&[("data.pkl", &pickle), ("data/0", &floats(&[0.0; 6]))])).unwrap_err();
    assert!(error.contains("names have 1024 bytes"), "{error}");
}

#[test]
fn other_files_of_pytorch_are_told_apart() {
    let bare = Pickle::new().list(&["a"]).end();
    assert!(parse(&bare).unwrap_err().contains("is a bare pickle"), "{}", parse(&bare).unwrap_err());
    let model = Pickle::new().object("models.yolo", "Model", |p| p.text("_modules").raw(b"}"));
    assert!(refused(&model.end()).contains("without its model file"));
    let other = Pickle::new().object("ultralytics.nn.tasks", "DetectionModel", |p| p.text("_modules").raw(b"}"));
    assert!(refused(&other.end()).contains("a checkpoint of another family"));
    let eps = Pickle::new().object("torch.nn.modules.batchnorm", "BatchNorm2d", |p| p.text("eps").float(1e-5)).end();
    assert!(refused(&eps).contains("with eps = 0.00001; expected 0.001"), "{}", refused(&eps));
}
