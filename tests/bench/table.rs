//! The table that is printed at the end, and a line for each row while it grows.

use std::fmt;

/// Rows in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Table(Vec<[String; 4]>);

const HEAD: [&str; 4] = ["what", "measured", "floor, same run", "budget"];

impl Table {
    /// Adds a row and prints it at once, for a run takes minutes.
    pub fn row(&mut self, what: &str, measured: impl Into<String>, floor: impl Into<String>, budget: &str) {
        let row = [what.to_owned(), measured.into(), floor.into(), budget.to_owned()];
        println!("{}: {} ({})", row[0], row[1], row[2]);
        self.0.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = HEAD.map(str::len);
        for row in &self.0 {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut line = |cells: [&str; 4]| {
            write!(f, "|")?;
            for (cell, width) in cells.iter().zip(widths) {
                write!(f, " {cell:width$} |")?;
            }
            writeln!(f)
        };
        line(HEAD)?;
        line(widths.map(|width| "-".repeat(width)).each_ref().map(String::as_str))?;
        self.0.iter().try_for_each(|row| line(row.each_ref().map(String::as_str)))
    }
}
