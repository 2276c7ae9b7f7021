//! Headers that are right, cut short, damaged, or claim what no file has.

use super::*;
use crate::nn::testing::{Family, Stored, write_checkpoint};
use proptest::prelude::*;

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Two metadata values and two tensors: `a` F32 [2, 32], `b` Q8_0 [1, 32].
fn small_file() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    put_text(&mut out, "general.architecture");
    out.extend(8u32.to_le_bytes());
    put_text(&mut out, "llama");
    put_text(&mut out, "tokens");
    out.extend(9u32.to_le_bytes());
    out.extend(8u32.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    put_text(&mut out, "x");
    put_text(&mut out, "yz");
    for (name, dims, kind, offset) in [("a", vec![32u64, 2], 0u32, 0u64), ("b", vec![32], 8, 256)] {
        put_text(&mut out, name);
        out.extend((dims.len() as u32).to_le_bytes());
        out.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(32) + 256 + 34, 0);
    out
}

fn parse(bytes: &[u8]) -> Result<Gguf> {
    Gguf::parse(bytes, bytes.len() as u64, Path::new("small.gguf"))
}

fn message(bytes: &[u8]) -> String {
    format!("{:#}", parse(bytes).expect_err("the file is damaged"))
}

#[test]
fn a_small_file_is_read() {
    let file = parse(&small_file()).expect("readable");
    assert_eq!(file.text("general.architecture").expect("text"), Some("llama"));
    assert_eq!(file.get("tokens"), Some(&Value::Texts(vec!["x".into(), "yz".into()])));
    let a = file.source().tensor("a").expect("a");
    assert_eq!((a.shape.as_slice(), a.kind, a.bytes), ([2, 32].as_slice(), GgmlDType::F32, 256));
    assert_eq!(file.source().tensor("b").expect("b").offset, a.offset + 256);
}

#[test]
fn every_truncation_is_an_error() {
    let whole = small_file();
    for length in 0..whole.len() {
        assert!(parse(&whole[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn errors_name_the_field() {
    let whole = small_file();
    assert!(message(b"GGML....").contains("not a GGUF file"));
    let mut counts = whole.clone();
    counts[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(message(&counts).contains("tensor count"));
    assert!(message(&whole[..whole.len() - 1]).contains("tensor b"));
}

#[test]
fn an_unknown_tensor_type_and_a_crooked_offset_are_named() {
    let whole = small_file();
    let at = whole.windows(9).position(|w| w == b"\x01\0\0\0\0\0\0\0b").expect("entry of b") + 9 + 4 + 8;
    let mut kind = whole.clone();
    kind[at] = 99;
    assert!(message(&kind).contains("tensor b: its type has the number 99"), "{}", message(&kind));
    let mut offset = whole.clone();
    offset[at + 4] = 7;
    assert!(message(&offset).contains("multiple of 32"));
    let mut overlap = whole;
    overlap[at + 4..at + 12].copy_from_slice(&128u64.to_le_bytes());
    assert!(message(&overlap).contains("overlap"));
}

/// A header with these values, by type and bytes, under the keys `k0`, `k1` and so on.
fn with_metadata(values: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.extend((values.len() as u64).to_le_bytes());
    for (index, (kind, value)) in values.iter().enumerate() {
        put_text(&mut out, &format!("k{index}"));
        out.extend(kind.to_le_bytes());
        out.extend(value);
    }
    out
}

#[test]
fn what_a_header_claims_is_bounded_and_the_error_names_the_entry() {
    let list =
        |kind: u32, count: u64| (9, kind.to_le_bytes().into_iter().chain(count.to_le_bytes()).collect::<Vec<u8>>());
    let mut counts = with_metadata(&[]);
    counts[16..24].copy_from_slice(&(MOST_ENTRIES + 1).to_le_bytes());
    let whole = |kind: u32| (list(kind, MOST_ITEMS).1.into_iter().chain(vec![0; MOST_ITEMS as usize])).collect();
    let full: Vec<(u32, Vec<u8>)> = (0..9).map(|_| (9, whole(0))).collect();
    for (header, said) in [
        (with_metadata(&[(4, vec![0; 4]), list(0, MOST_ITEMS + 1)]), "metadata k1: length of an array"),
        (with_metadata(&[list(8, MOST_ITEMS + 1)]), "metadata k0: length of an array"),
        (with_metadata(&[list(8, 1 << 60)]), "metadata k0: length of an array"),
        (with_metadata(&[(8, (LONGEST_TEXT + 1).to_le_bytes().to_vec())]), "metadata k0: a text of 16777217 bytes"),
        (with_metadata(&full), "metadata k7: with it the metadata would take more than"),
        (counts, "metadata count: the file claims 65537 of them"),
    ] {
        // The file is as long as is claimed, as far as anybody reads.
        let reader = header.chain(std::io::repeat(0));
        let error = Gguf::parse(reader, 1 << 40, Path::new("small.gguf")).expect_err("too much");
        assert!(format!("{error:#}").starts_with(said), "{error:#} is not {said}");
    }
}

#[test]
fn a_length_that_swallows_the_next_entry_is_named_by_the_entry_before() {
    let mut bytes = small_file();
    let at = bytes.windows(5).position(|w| w == b"llama").expect("the value") - 8;
    bytes[at] += 2;
    assert!(message(&bytes).contains("entry 1, after metadata general.architecture"), "{}", message(&bytes));
}

#[test]
fn an_impossible_alignment_is_told_as_a_person_would_write_it() {
    let list: Vec<u8> = [&4u32.to_le_bytes()[..], &50u64.to_le_bytes(), &[0; 4 * 50]].concat();
    let text: Vec<u8> = [&3u64.to_le_bytes()[..], b"x\x1by"].concat();
    for (kind, value, said) in [
        (4, 7u32.to_le_bytes().to_vec(), "general.alignment is 7; powers of two from 1 to 1048576"),
        (4, (1u32 << 21).to_le_bytes().to_vec(), "general.alignment is 2097152; powers of two from 1 to 1048576"),
        (5, (-32i32).to_le_bytes().to_vec(), "general.alignment is -32;"),
        (9, list, "general.alignment is a list of 50 integers;"),
        (8, text, "general.alignment is the text \"x\\u{1b}y\";"),
    ] {
        let mut out = MAGIC.to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend([0, 1].map(u64::to_le_bytes).concat());
        put_text(&mut out, "general.alignment");
        out.extend(u32::to_le_bytes(kind));
        out.extend(value);
        assert!(message(&out).contains(said) && message(&out).contains("convert"), "{}", message(&out));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn mutations_never_panic(changes in proptest::collection::vec((0usize..1000, any::<u8>()), 1..8), cut in 0usize..1500) {
        let mut bytes = small_file();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut);
        let _ = parse(&bytes);
    }
}

#[test]
fn a_tensor_of_a_smaller_type_than_its_numbers_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("model.gguf");
    write_checkpoint(&path, Family::Llama, Stored::Q8_0, 3).expect("written");
    let whole = std::fs::read(&path).expect("bytes");
    assert!(Gguf::open(&path).is_ok());
    let name = "blk.1.ffn_norm.weight";
    let at = whole.windows(name.len()).position(|part| part == name.as_bytes()).expect("the tensor's entry");
    // Behind the name: how many dimensions, this one's size, the type.
    let kind = at + name.len() + 4 + 8;
    assert_eq!(whole[kind..kind + 4], 0u32.to_le_bytes(), "single precision");
    for smaller in [1u32, 30] {
        let mut changed = whole.clone();
        changed[kind..kind + 4].copy_from_slice(&smaller.to_le_bytes());
        std::fs::write(&path, changed).expect("written");
        let error = format!("{:#}", Gguf::open(&path).expect_err("refused"));
        assert!(error.contains("belong to no tensor") && error.contains(name), "{error}");
    }
    // Bytes behind the last tensor are nobody's either.
    std::fs::write(&path, [&whole[..], &[0; 64]].concat()).expect("written");
    let error = format!("{:#}", Gguf::open(&path).expect_err("refused"));
    assert!(error.contains("belong to no tensor"), "{error}");
}
