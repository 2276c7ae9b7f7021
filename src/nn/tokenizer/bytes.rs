//! The printable alphabet in which byte-level vocabularies write bytes, and the byte tokens of SentencePiece ones.

use std::sync::LazyLock;

/// The character that stands for each byte. Bytes that print keep their Latin-1 character; the others take the
/// characters from U+0100 on, in order.
pub(super) static ALPHABET: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 0x100;
    std::array::from_fn(|byte| match byte {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte as u8),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
    })
});

/// Where the alphabet ends: no character beyond stands for a byte.
const END: usize = 0x200;

static INVERSE: LazyLock<[Option<u8>; END]> = LazyLock::new(|| {
    let mut inverse = [None; END];
    for (byte, &c) in (0..=u8::MAX).zip(ALPHABET.iter()) {
        if let Some(slot) = inverse.get_mut(c as usize) {
            *slot = Some(byte);
        }
    }
    inverse
});

/// A text in the alphabet.
pub(super) fn encode(text: &str) -> String {
    text.bytes().filter_map(|byte| ALPHABET.get(usize::from(byte))).collect()
}

/// The bytes that a token stands for. A character outside the alphabet stands for itself.
pub(super) fn decode(token: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for c in token.chars() {
        match INVERSE.get(c as usize).copied().flatten() {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The byte of a `<0xNN>` token.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        u8::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own_and_comes_back() {
        for byte in 0..=u8::MAX {
            let token = ALPHABET[usize::from(byte)].to_string();
            assert_eq!(decode(&token), [byte]);
        }
        assert_eq!(encode(" a\n"), "\u{120}a\u{10a}");
    }

    #[test]
    fn a_character_outside_the_alphabet_decodes_to_itself() {
        assert_eq!(decode("日"), "日".as_bytes());
    }

    #[test]
    fn only_two_hexadecimal_digits_make_a_byte_token() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        for other in ["<0xA>", "<0x+1>", "<0x0AB>", "0x0A", "<0xéa>"] {
            assert_eq!(byte_token(other), None, "{other}");
        }
    }
}
