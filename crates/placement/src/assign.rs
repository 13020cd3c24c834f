//! Who goes to which host: the most members on hosts of their own, at the least cost.

/// The cost of a member on a host; `None`: it may not be there.
pub(crate) type Cost = Option<u32>;

/// For each member (a row of `costs`) the host (a column) it gets, no host twice. As many members as possible get one, the
/// earlier rows first, and the sum of their costs is the least.
///
/// Shortest augmenting paths (Bellman-Ford), one for each row: a row that got a host keeps one for good.
pub(crate) fn assign(costs: &[Vec<Cost>]) -> Vec<Option<usize>> {
    let hosts = costs.iter().map(Vec::len).max().unwrap_or(0);
    // Who has each host.
    let mut holder: Vec<Option<usize>> = vec![None; hosts];
    for row in 0..costs.len() {
        augment(costs, row, &mut holder);
    }
    let mut result = vec![None; costs.len()];
    for (host, member) in holder.iter().enumerate() {
        if let Some(member) = member {
            result[*member] = Some(host);
        }
    }
    result
}

fn cost(costs: &[Vec<Cost>], row: usize, host: usize) -> Option<i64> {
    let cost = costs.get(row)?.get(host).copied().flatten()?;
    Some(i64::from(cost))
}

/// Finds the cheapest way to give `row` a host, others moving on to other hosts, and takes it.
fn augment(costs: &[Vec<Cost>], row: usize, holder: &mut [Option<usize>]) {
    // How cheaply each host can be reached, and by whom it is then taken.
    let mut best: Vec<Option<(i64, usize)>> = (0..holder.len())
        .map(|host| cost(costs, row, host).map(|cost| (cost, row)))
        .collect();
    // No path is longer than there are hosts.
    for _ in 0..holder.len() {
        let mut changed = false;
        for from in 0..holder.len() {
            let (Some((reached, _)), Some(member)) = (best[from], holder[from]) else {
                continue;
            };
            let Some(given_up) = cost(costs, member, from) else {
                continue;
            };
            for (to, best) in best.iter_mut().enumerate() {
                let Some(step) = cost(costs, member, to).filter(|_| to != from) else {
                    continue;
                };
                let total = reached - given_up + step;
                if best.is_none_or(|(known, _)| total < known) {
                    *best = Some((total, member));
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    let free = (0..holder.len()).filter(|host| holder[*host].is_none());
    let cheapest = free
        .filter_map(|host| best[host].map(|(cost, _)| (cost, host)))
        .min();
    let Some((_, mut host)) = cheapest else {
        return;
    };
    // Backwards: each host goes to whom it was reached by, who leaves another.
    while let Some((_, member)) = best[host] {
        let left = (0..holder.len()).find(|at| holder[*at] == Some(member));
        holder[host] = Some(member);
        match left {
            Some(left) if member != row => host = left,
            _ => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many got a host, and at which cost.
    fn worth(costs: &[Vec<Cost>], result: &[Option<usize>]) -> (usize, i64) {
        let given = result.iter().enumerate().filter_map(|(row, host)| {
            let host = (*host)?;
            Some(cost(costs, row, host).expect("nobody is where it may not be"))
        });
        given.fold((0, 0), |(count, sum), cost| (count + 1, sum + cost))
    }

    /// Tries everything.
    fn brute(costs: &[Vec<Cost>], row: usize, taken: &mut Vec<usize>) -> (usize, i64) {
        let Some(line) = costs.get(row) else {
            return (0, 0);
        };
        let mut best = brute(costs, row + 1, taken);
        for host in 0..line.len() {
            let Some(own) = cost(costs, row, host).filter(|_| !taken.contains(&host)) else {
                continue;
            };
            taken.push(host);
            let (count, sum) = brute(costs, row + 1, taken);
            taken.pop();
            let found = (count + 1, sum + own);
            if found.0 > best.0 || (found.0 == best.0 && found.1 < best.1) {
                best = found;
            }
        }
        best
    }

    fn tables() -> impl Strategy<Value = Vec<Vec<Cost>>> {
        let line = |hosts| prop::collection::vec(prop::option::of(0..5_u32), hosts);
        (1..6_usize).prop_flat_map(move |hosts| prop::collection::vec(line(hosts), 0..6))
    }

    proptest! {
        #[test]
        fn most_members_and_nobody_twice(costs in tables()) {
            let result = assign(&costs);
            let mut taken: Vec<_> = result.iter().flatten().collect();
            let count = taken.len();
            taken.sort();
            taken.dedup();
            prop_assert_eq!(taken.len(), count);
            prop_assert_eq!(worth(&costs, &result).0, brute(&costs, 0, &mut Vec::new()).0);
        }

        /// When all get a host, no other way is cheaper.
        #[test]
        fn the_cheapest_way_for_all(costs in tables()) {
            let best = brute(&costs, 0, &mut Vec::new());
            prop_assume!(best.0 == costs.len());
            prop_assert_eq!(worth(&costs, &assign(&costs)), best);
        }
    }

    #[test]
    fn somebody_moves_on_for_who_may_go_to_one_host_only() {
        let costs = [vec![Some(0), Some(9)], vec![Some(0), None]];
        assert_eq!(assign(&costs), [Some(1), Some(0)]);
        assert_eq!(assign(&[]), []);
        assert_eq!(assign(&[vec![]]), [None]);
    }
}
