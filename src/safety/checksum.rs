//! Checksums that tell identifiers from chance.

/// Whether digits (separators are skipped) satisfy the Luhn formula of payment cards.
pub(super) fn luhn(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 =
        digits.iter().rev().enumerate().map(|(i, &d)| if i % 2 == 0 { d } else { d * 2 / 10 + d * 2 % 10 }).sum();
    sum.is_multiple_of(10) && digits.iter().any(|&d| d != 0)
}

/// Whether an IBAN (separators are skipped) leaves 1 modulo 97, ISO 13616.
pub(super) fn iban(text: &str) -> bool {
    let chars: Vec<char> = text.chars().filter(char::is_ascii_alphanumeric).collect();
    if !(15..=34).contains(&chars.len()) {
        return false;
    }
    let rotated = chars[4..].iter().chain(&chars[..4]);
    let remainder = rotated
        .filter_map(|c| c.to_digit(36))
        .fold(0, |rest: u32, value| if value < 10 { (rest * 10 + value) % 97 } else { (rest * 100 + value) % 97 });
    remainder == 1
}

/// Whether a Spanish DNI or NIE ends in the letter that its number asks for.
pub(super) fn dni(text: &str) -> bool {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let upper = text.to_ascii_uppercase();
    let digits: String = upper
        .char_indices()
        .filter_map(|(i, c)| match c {
            'X' if i == 0 => Some('0'),
            'Y' if i == 0 => Some('1'),
            'Z' if i == 0 => Some('2'),
            c => c.is_ascii_digit().then_some(c),
        })
        .collect();
    let letter = digits.parse::<usize>().ok().and_then(|number| LETTERS.get(number % 23));
    letter.is_some() && letter == upper.as_bytes().last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_numbers_pass_and_a_changed_digit_fails() {
        assert!(luhn("4111 1111 1111 1111") && !luhn("4111 1111 1111 1112") && !luhn("0000 0000 0000 0000"));
        assert!(iban("DE89 3704 0044 0532 0130 00") && !iban("DE89 3704 0044 0532 0130 01"));
        assert!(iban("GB82WEST12345698765432") && !iban("GB82"));
        assert!(dni("12345678Z") && !dni("12345678A") && dni("X1234567L"));
    }
}
