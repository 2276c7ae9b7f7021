//! Text as patterns read it: folded, so that a disguise does not hide an instruction, with the way back to the original.

/// A folded text and where each of its bytes comes from.
pub(super) struct Folded {
    /// The folded text.
    pub(super) text: String,
    /// For each byte of `text` the range of the original character behind it.
    origin: Vec<(usize, usize)>,
}

impl Folded {
    /// Folds case, accents, full-width letters and look-alikes; collapses white space; drops characters of no width.
    pub(super) fn of(original: &str) -> Self {
        let mut folded = Self { text: String::with_capacity(original.len()), origin: Vec::new() };
        for (start, c) in original.char_indices() {
            let end = start + c.len_utf8();
            if is_invisible(c) {
                continue;
            }
            if c.is_whitespace() {
                if !folded.text.is_empty() && !folded.text.ends_with(' ') {
                    folded.push(' ', start, end);
                }
                continue;
            }
            for lower in plain(c).to_lowercase() {
                folded.push(plain(lower), start, end);
            }
        }
        folded
    }

    /// The original's byte range for a non-empty byte range of the folded text.
    pub(super) fn original(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let first = self.origin.get(start)?;
        let last = self.origin.get(end.checked_sub(1)?)?;
        Some((first.0, last.1))
    }

    fn push(&mut self, c: char, start: usize, end: usize) {
        self.text.push(c);
        self.origin.resize(self.text.len(), (start, end));
    }
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
        || matches!(c, '\u{300}'..='\u{36f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e007f}')
}

/// The ASCII letter that a character is an accented, full-width or look-alike form of; else the character itself.
fn plain(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        'à'..='å' | 'À'..='Å' | 'а' | 'А' | 'α' | 'Α' => 'a',
        'è'..='ë' | 'È'..='Ë' | 'е' | 'Е' | 'ё' | 'ε' | 'Ε' => 'e',
        'ì'..='ï' | 'Ì'..='Ï' | 'і' | 'І' | 'ι' | 'Ι' | 'ı' => 'i',
        'ò'..='ö' | 'Ò'..='Ö' | 'о' | 'О' | 'ο' | 'Ο' => 'o',
        'ù'..='ü' | 'Ù'..='Ü' | 'υ' => 'u',
        'ç' | 'Ç' | 'с' | 'С' => 'c',
        'ñ' | 'Ñ' => 'n',
        'р' | 'Р' | 'ρ' | 'Ρ' => 'p',
        'у' | 'У' => 'y',
        'х' | 'Х' | 'χ' => 'x',
        'ѕ' | 'Ѕ' => 's',
        'ј' | 'Ј' => 'j',
        '‘' | '’' | '`' | '´' => '\'',
        '“' | '”' | '„' | '«' | '»' => '"',
        '‐'..='―' => '-',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguises_are_folded_away() {
        assert_eq!(Folded::of("  IG\u{200b}NORE\n\tthe Rulés  ").text, "ignore the rules ");
        assert_eq!(Folded::of("ｉｇｎｏｒｅ аll").text, "ignore all");
    }

    #[test]
    fn offsets_lead_back_to_the_original() {
        let original = "é\u{200b}  İgnore";
        let folded = Folded::of(original);
        let at = folded.text.find("nore").expect("folded");
        let (start, end) = folded.original(at, at + 4).expect("a range");
        assert_eq!(&original[start..end], "nore");
        assert_eq!(folded.original(0, 0), None);
        assert_eq!(folded.original(0, 9999), None);
    }
}
