//! Checksums that tell identifiers from chance. Separators between digits are skipped everywhere.

/// The digits of a text.
pub(super) fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// The remainder of a long number, most significant digit first.
fn modulo(digits: &[u32], modulus: u32) -> u32 {
    digits.iter().fold(0, |rest, digit| (rest * 10 + digit) % modulus)
}

/// The sum of digits times weights, as far as both go.
fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// The Luhn formula of payment cards, ISO/IEC 7812-1 annex B.
pub(super) fn luhn(digits: &[u32]) -> bool {
    let doubled = |d: u32| d * 2 / 10 + d * 2 % 10;
    let sum: u32 = digits.iter().rev().enumerate().map(|(i, &d)| if i % 2 == 0 { d } else { doubled(d) }).sum();
    sum.is_multiple_of(10) && digits.iter().any(|&d| d != 0)
}

/// Whether a prefix and a length are those of a card network, and the Luhn formula holds.
pub(super) fn card(digits: &[u32]) -> bool {
    let prefix = |n: usize| digits.iter().take(n).fold(0, |number, digit| number * 10 + digit);
    let (two, three, four, six) = (prefix(2), prefix(3), prefix(4), prefix(6));
    let lengths: &[usize] = match (two, three, four, six) {
        (34 | 37, ..) => &[15],
        (36 | 38 | 39, ..) | (_, 300..=305 | 309, ..) => &[14, 16, 17, 18, 19],
        (_, _, 1800 | 2131, _) => &[15],
        // JCB has 3528 to 3589; test numbers use the rest of 35 as well.
        (35, ..) => &[16, 17, 18, 19],
        (40..=49, ..) => &[13, 16, 19],
        (51..=55, ..) | (_, _, 2221..=2720 | 2200..=2204, _) => &[16],
        (_, _, 6011, _) | (65, ..) | (_, 644..=649, ..) | (.., 622_126..=622_925) => &[16, 17, 18, 19],
        (50 | 56..=64 | 66..=69, ..) | (_, _, 604, _) => &[12, 13, 14, 15, 16, 17, 18, 19],
        _ => &[],
    };
    lengths.contains(&digits.len()) && luhn(digits)
}

/// Characters of an IBAN by country, ISO 13616 registry.
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 \
    DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 \
    JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 \
    PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 \
    XK20 YE30";

/// How many characters an IBAN has that begins with this country's code.
pub(super) fn iban_length(country: &str) -> Option<usize> {
    IBAN_LENGTHS.split(' ').find(|entry| entry.starts_with(country))?.get(2..)?.parse().ok()
}

/// Whether an IBAN without separators leaves 1 modulo 97.
pub(super) fn iban(chars: &[char]) -> bool {
    let Some((head, rest)) = chars.split_at_checked(4) else { return false };
    let remainder = rest
        .iter()
        .chain(head)
        .filter_map(|c| c.to_digit(36))
        .fold(0, |rest: u32, value| if value < 10 { (rest * 10 + value) % 97 } else { (rest * 100 + value) % 97 });
    remainder == 1
}

/// A US social security number: area not 000, 666 or 9xx, group not 00, serial not 0000.
pub(super) fn us_ssn(digits: &[u32]) -> bool {
    let part = |range: std::ops::Range<usize>| digits[range].iter().fold(0, |number, digit| number * 10 + digit);
    digits.len() == 9 && !matches!(part(0..3), 0 | 666 | 900..) && part(3..5) > 0 && part(5..9) > 0
}

/// A US individual taxpayer number: 9xx with a group of 50–65, 70–88, 90–92 or 94–99.
pub(super) fn us_itin(digits: &[u32]) -> bool {
    matches!(digits, [9, _, _, d, e, ..]
        if digits.len() == 9 && matches!(d * 10 + e, 50..=65 | 70..=88 | 90..=92 | 94..=99))
}

/// The letter of a Spanish DNI or NIE.
pub(super) fn es_dni(text: &str) -> bool {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let upper = text.to_ascii_uppercase();
    let number: String = upper
        .char_indices()
        .filter_map(|(i, c)| match c {
            'X' if i == 0 => Some('0'),
            'Y' if i == 0 => Some('1'),
            'Z' if i == 0 => Some('2'),
            c => c.is_ascii_digit().then_some(c),
        })
        .collect();
    let letter = number.parse::<usize>().ok().and_then(|number| LETTERS.get(number % 23));
    number.len() == 8 && letter.is_some() && letter == upper.as_bytes().last()
}

/// The last letter of an Italian codice fiscale.
pub(super) fn it_fiscal_code(text: &str) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let values: Vec<u32> =
        text.chars().filter_map(|c| c.to_digit(36)).map(|v| if v < 10 { v } else { v - 10 }).collect();
    let Some((last, first)) = values.split_last() else { return false };
    let sum: u32 = first
        .iter()
        .enumerate()
        .map(|(i, &value)| if i % 2 == 0 { ODD.get(value as usize).copied().unwrap_or(0) } else { value })
        .sum();
    values.len() == 16 && sum % 26 == *last
}

/// The key of a French social security number; the departments 2A and 2B count as 19 and 18.
pub(super) fn fr_nir(text: &str) -> bool {
    let plain = text.to_ascii_uppercase().replace("2A", "19").replace("2B", "18");
    let digits = digits(&plain);
    let Some((number, key)) = digits.split_at_checked(13) else { return false };
    key.len() == 2 && 97 - modulo(number, 97) == key[0] * 10 + key[1]
}

/// A German tax number: ISO 7064 MOD 11,10, and among the first ten digits one is repeated.
pub(super) fn de_tax_id(digits: &[u32]) -> bool {
    let Some((check, number)) = digits.split_last() else { return false };
    let mut counts = [0; 10];
    for &digit in number {
        counts[digit as usize % 10] += 1;
    }
    let repeated = counts.iter().filter(|&&count| count > 1).count() == 1;
    let product = number.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    number.len() == 10 && number[0] != 0 && repeated && (11 - product) % 10 == *check
}

/// A British NHS number: modulus 11.
pub(super) fn uk_nhs(digits: &[u32]) -> bool {
    let check = (11 - weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    digits.len() == 10 && digits[9] == check && digits.iter().any(|&digit| digit != digits[0])
}

/// A Polish PESEL.
pub(super) fn pl_pesel(digits: &[u32]) -> bool {
    digits.len() == 11 && weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10) && digits[2] < 10
}

/// A Dutch citizen number: the test of eleven.
pub(super) fn nl_bsn(digits: &[u32]) -> bool {
    let sum = weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2]) + 11 * 9;
    digits.len() == 9 && (sum - digits[8]).is_multiple_of(11) && digits.iter().any(|&digit| digit != 0)
}

/// A Belgian national number: 97 less the remainder, with a 2 before the number for those born from 2000 on.
pub(super) fn be_nrn(digits: &[u32]) -> bool {
    let Some((number, key)) = digits.split_at_checked(9) else { return false };
    let later: Vec<u32> = std::iter::once(2).chain(number.iter().copied()).collect();
    key.len() == 2 && [97 - modulo(number, 97), 97 - modulo(&later, 97)].contains(&(key[0] * 10 + key[1]))
}

/// A Swiss AHV number: the check digit of EAN-13.
pub(super) fn ch_ahv(digits: &[u32]) -> bool {
    digits.len() == 13 && weighted(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

/// A Finnish personal identity code: its last character is the number modulo 31.
pub(super) fn fi_code(text: &str) -> bool {
    const CHARACTERS: &[u8] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let Some(last) = text.as_bytes().last().map(u8::to_ascii_uppercase) else { return false };
    let number = digits(text.get(..text.len() - 1).unwrap_or_default());
    let (day, month) = (modulo(&number[..2.min(number.len())], 100), number.get(2..4).map_or(0, |m| m[0] * 10 + m[1]));
    number.len() == 9 && calendar(day, month) && CHARACTERS.get(modulo(&number, 31) as usize) == Some(&last)
}

/// A Swedish personal number: Luhn over ten digits, the first six a date (a co-ordination number adds 60 to the day).
pub(super) fn se_number(digits: &[u32]) -> bool {
    let digits = if digits.len() == 12 { &digits[2..] } else { digits };
    let two = |i: usize| digits[i] * 10 + digits[i + 1];
    digits.len() == 10 && luhn(digits) && (calendar(two(4), two(2)) || calendar(two(4).saturating_sub(60), two(2)))
}

/// A Brazilian CPF: two check digits, and not eleven equal ones.
pub(super) fn br_cpf(digits: &[u32]) -> bool {
    let check = |n: usize| {
        let weights: Vec<u32> = (2..=n as u32 + 1).rev().collect();
        weighted(digits, &weights) * 10 % 11 % 10
    };
    digits.len() == 11 && digits.iter().any(|d| *d != digits[0]) && check(9) == digits[9] && check(10) == digits[10]
}

/// An Indian Aadhaar number: the Verhoeff scheme.
pub(super) fn aadhaar(digits: &[u32]) -> bool {
    const PERMUTATION: [usize; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    // Multiplication in the dihedral group of order ten: rotations 0–4, reflections 5–9.
    let times = |a: usize, b: usize| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - b) % 5,
        (false, false) => (5 + a - b) % 5,
    };
    let sum = digits.iter().rev().enumerate().fold(0, |sum, (i, &digit)| {
        let permuted = (0..i % 8).fold(digit as usize, |value, _| PERMUTATION[value]);
        times(sum, permuted)
    });
    digits.len() == 12 && digits[0] >= 2 && sum == 0
}

/// The letter of a Singaporean NRIC or FIN.
pub(super) fn sg_nric(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let (digits, bytes) = (digits(&upper), upper.as_bytes());
    let sum = weighted(&digits, &[2, 7, 6, 5, 4, 3, 2]) as usize;
    let letters: (&[u8], usize) = match bytes.first() {
        Some(b'S') => (b"JZIHGFEDCBA", 0),
        Some(b'T') => (b"JZIHGFEDCBA", 4),
        Some(b'F') => (b"XWUTRQPNMLK", 0),
        Some(b'G') => (b"XWUTRQPNMLK", 4),
        Some(b'M') => (b"XWUTRQPNJLK", 3),
        _ => return false,
    };
    digits.len() == 7 && letters.0.get((sum + letters.1) % 11) == bytes.last()
}

/// An Australian tax file number: modulus 11.
pub(super) fn au_tfn(digits: &[u32]) -> bool {
    digits.len() == 9 && weighted(digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
}

/// A Korean resident number: a date, a digit for century and sex, and since 2020 no checksum any more.
pub(super) fn kr_rrn(digits: &[u32]) -> bool {
    digits.len() == 13
        && calendar(digits[4] * 10 + digits[5], digits[2] * 10 + digits[3])
        && (1..=8).contains(&digits[6])
}

/// Whether a day and a month can be those of a date.
pub(super) fn calendar(day: u32, month: u32) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(check: fn(&[u32]) -> bool, text: &str) -> bool {
        check(&digits(text))
    }

    fn is_iban(text: &str) -> bool {
        iban(&text.chars().filter(char::is_ascii_alphanumeric).collect::<Vec<_>>())
    }

    /// A valid number stays valid only as it is: every digit takes part in its checksum.
    fn only_this(check: fn(&[u32]) -> bool, text: &str) {
        assert!(with(check, text), "{text}");
        let digits = digits(text);
        for at in 0..digits.len() {
            let mut changed = digits.clone();
            changed[at] = (changed[at] + 1) % 10;
            assert!(!check(&changed), "{text} with another digit at {at}");
        }
    }

    #[test]
    fn valid_numbers_pass_and_a_changed_digit_fails() {
        only_this(luhn, "4111 1111 1111 1111");
        assert!(!with(luhn, "0000 0000 0000 0000"));
        assert!(is_iban("DE89 3704 0044 0532 0130 00") && !is_iban("DE89 3704 0044 0532 0130 01"));
        assert!(is_iban("GB82WEST12345698765432") && !is_iban("GB8"));
        only_this(uk_nhs, "943 476 5919");
        only_this(pl_pesel, "44051401359");
        only_this(nl_bsn, "111222333");
        only_this(be_nrn, "85.07.30-033.28");
        only_this(ch_ahv, "756.9217.0769.85");
        only_this(br_cpf, "529.982.247-25");
        only_this(aadhaar, "2341 2341 2346");
        only_this(au_tfn, "123 456 782");
        assert!(with(de_tax_id, "86 095 742 719") && !with(de_tax_id, "86 095 742 718"));
        assert!(with(se_number, "811228-9874") && !with(se_number, "811228-9873"));
        assert!(fi_code("131052-308T") && !fi_code("131052-308U"));
        assert!(es_dni("12345678Z") && !es_dni("12345678A") && es_dni("X1234567L"));
        assert!(it_fiscal_code("RSSMRA85T10A562S") && !it_fiscal_code("RSSMRA85T10A562T"));
        assert!(fr_nir("2 55 08 14 168 025 38") && !fr_nir("2 55 08 14 168 025 39"));
        assert!(sg_nric("S1234567D") && !sg_nric("S1234567E"));
        assert!(with(us_ssn, "531-21-7351") && !with(us_ssn, "666-21-7351") && !with(us_ssn, "531-00-7351"));
        assert!(with(us_itin, "912-70-1234") && !with(us_itin, "912-10-1234"));
        assert!(with(kr_rrn, "800101-1234567") && !with(kr_rrn, "801301-1234567"));
    }

    #[test]
    fn a_card_has_the_prefix_and_the_length_of_a_network() {
        for number in
            ["4111111111111111", "378282246310005", "5555555555554444", "6011111111111117", "3530111333300000"]
        {
            assert!(with(card, number), "{number}");
        }
        for number in ["1111111111111117", "41111111111111", "9999999999999995", "8111111111111113"] {
            assert!(!with(card, number), "{number}");
        }
        assert_eq!(iban_length("NO"), Some(15));
        assert_eq!(iban_length("ZZ"), None);
    }

    #[test]
    fn no_length_of_input_makes_a_checksum_fail_otherwise_than_by_saying_no() {
        for length in 0..20 {
            let text = "2".repeat(length);
            let digits = digits(&text);
            let checks = [
                luhn, card, us_ssn, us_itin, de_tax_id, uk_nhs, pl_pesel, nl_bsn, be_nrn, ch_ahv, se_number, br_cpf,
                aadhaar, au_tfn, kr_rrn,
            ];
            assert!(checks.iter().filter(|check| check(&digits)).count() < checks.len());
            // Digits alone are no code of letters, except where all letters count.
            assert!(!es_dni(&text) && !sg_nric(&text));
            let _ = (fr_nir(&text), fi_code(&text), it_fiscal_code(&text));
        }
    }
}
