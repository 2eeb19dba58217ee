//! Lines of CSV as spreadsheets write them and people paste them (RFC 4180, but for line breaks inside of cells).

/// The cells of a line; without white space around those that stand in no quotation marks.
pub(super) struct Line {
    pub(super) cells: Vec<String>,
    /// Whether a quotation mark was not closed: then what is behind it is one cell.
    pub(super) open: bool,
}

impl Line {
    pub(super) fn read(line: &str, divides: impl Fn(char) -> bool) -> Self {
        let mut cells = Vec::new();
        let (mut cell, mut quoted, mut was_quoted) = (String::new(), false, false);
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '"' if quoted && letters.peek() == Some(&'"') => {
                    letters.next();
                    cell.push('"');
                }
                '"' if quoted || cell.trim().is_empty() => {
                    quoted = !quoted;
                    if quoted {
                        cell.clear();
                        was_quoted = true;
                    }
                }
                letter if !quoted && divides(letter) => {
                    cells.push(finished(&cell, was_quoted));
                    cell.clear();
                    was_quoted = false;
                }
                // What stands behind a closed quotation is only space.
                letter if was_quoted && !quoted && letter.is_whitespace() => {}
                letter => cell.push(letter),
            }
        }
        cells.push(finished(&cell, was_quoted));
        Self { cells, open: quoted }
    }
}

fn finished(cell: &str, was_quoted: bool) -> String {
    if was_quoted {
        cell.to_owned()
    } else {
        cell.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn a_line_of_csv_is_read_as_spreadsheets_write_it() {
        for (line, expected) in [
            ("a,b", vec!["a", "b"]),
            (" a , b ", vec!["a", "b"]),
            ("\"a,b\",\"say \"\"no\"\"\" ", vec!["a,b", "say \"no\""]),
            ("a,", vec!["a", ""]),
            ("", vec![""]),
            ("a,b,c", vec!["a", "b", "c"]),
            ("\" a \",b", vec![" a ", "b"]),
            ("a \"b\",c", vec!["a \"b\"", "c"]),
        ] {
            let read = Line::read(line, |letter| letter == ',');
            assert_eq!(read.cells, expected, "{line}");
            assert!(!read.open, "{line}");
        }
        let read = Line::read("x,\"a,b", |letter| letter == ',');
        assert_eq!((read.cells, read.open), (vec!["x".to_owned(), "a,b".to_owned()], true));
    }
}
