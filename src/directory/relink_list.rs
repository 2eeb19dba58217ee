//! The list by which people are moved: CSV of the old subject or the address, and the new subject. Nothing is changed here.

use super::csv::Line;

/// Why a list can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelinkListError {
    /// A cell does not end.
    #[error("line {0}: a quotation mark is not closed")]
    Open(usize),
    /// It says more or less than old and new.
    #[error("line {line}: two columns are expected, {found} are there")]
    Columns {
        /// Which.
        line: usize,
        /// How many.
        found: usize,
    },
    /// It names nobody.
    #[error("there is no line in it")]
    Empty,
}

/// Reads a list: of each line its number, the old subject or the address, and the new subject.
///
/// # Errors
/// If a line can't be read, or there is none.
pub fn read_relink_list(text: &str) -> Result<Vec<(usize, String, String)>, RelinkListError> {
    let mut list = Vec::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let number = at + 1;
        if line.trim().is_empty() {
            continue;
        }
        let Line { cells, open } = Line::read(line, |letter| letter == ',');
        if open {
            return Err(RelinkListError::Open(number));
        }
        let [old, new] = cells.as_slice() else {
            return Err(RelinkListError::Columns {
                line: number,
                found: cells.len(),
            });
        };
        if number == 1 && is_heading(old) && is_heading(new) {
            continue;
        }
        list.push((number, old.clone(), new.clone()));
    }
    if list.is_empty() {
        return Err(RelinkListError::Empty);
    }
    Ok(list)
}

fn is_heading(cell: &str) -> bool {
    let headings = ["old", "new", "subject", "email", "old_subject", "new_subject"];
    headings.contains(&cell.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_two_columns_and_perhaps_headings() {
        let line = |number, old: &str, new: &str| (number, old.to_owned(), new.to_owned());
        assert_eq!(
            read_relink_list("\u{feff}Email,new_subject\r\n\r\nada@example.com, x\r\n\"b,1\",y\r\n"),
            Ok(vec![line(3, "ada@example.com", "x"), line(4, "b,1", "y")])
        );
        assert_eq!(read_relink_list("old,new\n"), Err(RelinkListError::Empty));
        assert_eq!(read_relink_list("a,b\n\"c,d\n"), Err(RelinkListError::Open(2)));
        assert_eq!(
            read_relink_list("a\n"),
            Err(RelinkListError::Columns { line: 1, found: 1 })
        );
    }
}
