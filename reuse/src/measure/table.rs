//! Tables that read well in a terminal and in Markdown.

use std::fmt;

/// A table whose first column holds names and whose other columns hold numbers.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
    /// How many columns, from the left, hold text.
    text_columns: usize,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(header: &[&str]) -> Self {
        Self {
            rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()],
            text_columns: 1,
        }
    }

    /// Makes so many columns, from the left, hold text.
    #[must_use]
    pub const fn text_columns(mut self, count: usize) -> Self {
        self.text_columns = count;
        self
    }

    /// Adds a row. Missing cells stay empty, and cells beyond the header are dropped.
    pub fn add_row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let columns = self.rows[0].len();
        let mut row: Vec<String> = cells.into_iter().map(Into::into).take(columns).collect();
        row.resize(columns, String::new());
        self.rows.push(row);
    }

    fn widths(&self) -> Vec<usize> {
        let columns = 0..self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| chars(&row[column]));
            cells.max().unwrap_or(0).max(RULE_CHARS_MIN)
        };
        columns.map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                if column < self.text_columns {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            f.write_str("|")?;
            if number == 0 {
                f.write_str("\n")?;
                for (column, &width) in widths.iter().enumerate() {
                    let rule = "-".repeat(width + 1);
                    let mark = if column < self.text_columns { '-' } else { ':' };
                    write!(f, "|{rule}{mark}")?;
                }
                f.write_str("|")?;
            }
            if number + 1 < self.rows.len() {
                f.write_str("\n")?;
            }
        }
        Ok(())
    }
}

fn chars(cell: &str) -> usize {
    cell.chars().count()
}

/// Markdown wants a rule of three dashes.
const RULE_CHARS_MIN: usize = 2;

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn names_stand_left_and_numbers_right() {
        let mut table = Table::new(&["way", "requests/s"]);
        table.add_row(["pooled", "1 200"]);
        table.add_row(["spawn per request"]);
        let expected = "\
| way               | requests/s |
|-------------------|-----------:|
| pooled            |      1 200 |
| spawn per request |            |";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn more_columns_can_hold_text() {
        let mut table = Table::new(&["row", "tree", "ms"]).text_columns(2);
        table.add_row(["M1", "child", "5"]);
        let expected = "\
| row | tree  | ms |
|-----|-------|---:|
| M1  | child |  5 |";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        assert_eq!(
            Table::new(&["a", "b"]).to_string(),
            "| a  |  b |\n|----|---:|"
        );
    }
}
