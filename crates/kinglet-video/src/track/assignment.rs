//! Which track goes with which detection, so that the sum of costs is least.
//!
//! Source: the Hungarian method with potentials and shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987),
//! O(rows^2 columns).   Oracle: all assignments, tried one by one, in the tests below.

/// For each row the column that goes with it. A pair costs less than `limit`, and leaving a row and a column single
/// costs `limit`: a pair is not forced on a row where that would spoil a better one. `cost` has `columns` values a row.
///
/// # Panics
/// Where `cost` is no whole number of rows.
pub fn assign(cost: &[f64], columns: usize, limit: f64) -> Vec<Option<usize>> {
    if columns == 0 {
        return Vec::new();
    }
    assert!(cost.len().is_multiple_of(columns), "rows of {columns} costs, got {} in all", cost.len());
    let rows = cost.len() / columns;
    // A pair at the limit stands for two singles.
    let at = |row: usize, column: usize| cost[row * columns + column].min(limit);
    let mut pairs = vec![None; rows];
    if rows <= columns {
        for (row, column) in shortest_paths(rows, columns, at).into_iter().enumerate() {
            pairs[row] = Some(column);
        }
    } else {
        for (column, row) in shortest_paths(columns, rows, |column, row| at(row, column)).into_iter().enumerate() {
            pairs[row] = Some(column);
        }
    }
    for (row, pair) in pairs.iter_mut().enumerate() {
        *pair = pair.filter(|&column| cost[row * columns + column] < limit);
    }
    pairs
}

/// The column of each row; there are at least as many columns as rows. Row and column 0 are the method's own.
fn shortest_paths(rows: usize, columns: usize, at: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    let (mut row_potential, mut column_potential) = (vec![0.0; rows + 1], vec![0.0; columns + 1]);
    let mut row_of = vec![0; columns + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let mut column = 0;
        let mut least = vec![f64::INFINITY; columns + 1];
        let mut came_from = vec![0; columns + 1];
        let mut visited = vec![false; columns + 1];
        while row_of[column] != 0 {
            visited[column] = true;
            let here = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for c in (1..=columns).filter(|&c| !visited[c]) {
                let reduced = at(here - 1, c - 1) - row_potential[here] - column_potential[c];
                if reduced < least[c] {
                    (least[c], came_from[c]) = (reduced, column);
                }
                if least[c] < step {
                    (step, next) = (least[c], c);
                }
            }
            for c in 0..=columns {
                if visited[c] {
                    row_potential[row_of[c]] += step;
                    column_potential[c] -= step;
                } else {
                    least[c] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[came_from[column]];
            column = came_from[column];
        }
    }
    let mut column_of = vec![0; rows];
    for column in (1..=columns).filter(|&column| row_of[column] != 0) {
        column_of[row_of[column] - 1] = column - 1;
    }
    column_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Least cost over all partial assignments; a row or column that stays single costs half the limit.
    fn by_trying(cost: &[f64], columns: usize, limit: f64, row: usize, taken: &mut Vec<bool>) -> f64 {
        if row * columns == cost.len() {
            return taken.iter().filter(|&&t| !t).count() as f64 * limit / 2.0;
        }
        let mut best = limit / 2.0 + by_trying(cost, columns, limit, row + 1, taken);
        for column in 0..columns {
            let pair = cost[row * columns + column];
            if !taken[column] && pair < limit {
                taken[column] = true;
                best = best.min(pair + by_trying(cost, columns, limit, row + 1, taken));
                taken[column] = false;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn no_other_assignment_costs_less(rows in 1_usize..6, columns in 1_usize..6, limit in 0.2_f64..1.2,
                                          values in prop::collection::vec(0.0_f64..1.0, 25)) {
            let cost = &values[..rows * columns];
            let pairs = assign(cost, columns, limit);
            let mut taken = vec![false; columns];
            let mut sum = 0.0;
            for (row, pair) in pairs.iter().enumerate() {
                match *pair {
                    Some(column) => {
                        prop_assert!(!taken[column]);
                        taken[column] = true;
                        sum += cost[row * columns + column];
                    }
                    None => sum += limit / 2.0,
                }
            }
            sum += taken.iter().filter(|&&t| !t).count() as f64 * limit / 2.0;
            let best = by_trying(cost, columns, limit, 0, &mut vec![false; columns]);
            prop_assert!((sum - best).abs() < 1e-9, "{sum} instead of {best}");
        }
    }

    #[test]
    fn a_good_pair_is_not_broken_up_for_two_bad_ones() {
        // 0.1 and two singles at 0.8 together are less than 0.75 + 0.79.
        assert_eq!(assign(&[0.1, 0.75, 0.79, 1.0], 2, 0.8), [Some(0), None]);
        assert_eq!(assign(&[0.1, 0.2, 0.3, 1.0], 2, 0.8), [Some(1), Some(0)]);
        assert_eq!(assign(&[], 3, 0.8), []);
        assert_eq!(assign(&[0.5, 0.4, 0.9], 1, 0.8), [None, Some(0), None]);
    }
}
