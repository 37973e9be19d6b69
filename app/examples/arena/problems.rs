//! The problems of the contest, and how an answer is judged.

/// A problem as it is put into the database.
#[derive(Debug)]
pub(crate) struct NewProblem {
    /// Its name in the address.
    pub(crate) slug: &'static str,
    pub(crate) title: &'static str,
    pub(crate) level: &'static str,
    /// For a right answer at the first attempt.
    pub(crate) points: i64,
    /// Paragraphs, with an empty line between them.
    pub(crate) statement: &'static str,
    pub(crate) answer: &'static str,
}

/// All problems, in the order they are shown.
pub(crate) const PROBLEMS: [NewProblem; 8] = [
    NewProblem {
        slug: "stable-arithmetic",
        title: "Stable arithmetic",
        level: "easy",
        points: 10,
        statement: "A stable has 37 stalls, and five of them are empty. Every horse eats four \
                    bales of hay a day.\n\nHow many bales are eaten in a week?",
        answer: "896",
    },
    NewProblem {
        slug: "sevens",
        title: "Every seventh number",
        level: "easy",
        points: 15,
        statement: "7, 14 and 21 are the first three multiples of seven. Their sum is 42.\n\n\
                    What is the sum of all multiples of seven from 1 to 2026?",
        answer: "293335",
    },
    NewProblem {
        slug: "mirrors",
        title: "Mirrors",
        level: "easy",
        points: 20,
        statement: "A number such as 7, 88 or 14541 reads the same from both ends.\n\n\
                    How many such numbers are there from 1 to 100000?",
        answer: "1098",
    },
    NewProblem {
        slug: "note-on-the-door",
        title: "The note on the door",
        level: "medium",
        points: 25,
        statement: "A note hangs on the stable door:\n\nSLHK LCLYF OVYZL AV PAZ ZAHSS\n\n\
                    Each letter was moved by the same number of places in the alphabet, and the \
                    last letters went round to the first. What did it say?",
        answer: "lead every horse to its stall",
    },
    NewProblem {
        slug: "small-change",
        title: "Small change",
        level: "medium",
        points: 35,
        statement: "There are coins of 1, 2, 5, 10, 20 and 50 cents, as many as you like. Five \
                    cents can be paid in four ways: 5, 2+2+1, 2+1+1+1 and 1+1+1+1+1.\n\n\
                    In how many ways can 100 cents be paid?",
        answer: "4562",
    },
    NewProblem {
        slug: "hailstones",
        title: "Hailstones",
        level: "medium",
        points: 40,
        statement: "Start with a number. When it is even, halve it; when it is odd, take three \
                    times it and add one. Go on until you reach 1. From 6 that takes eight steps: \
                    3, 10, 5, 16, 8, 4, 2, 1.\n\n\
                    Which starting number below 10000 takes the most steps?",
        answer: "6171",
    },
    NewProblem {
        slug: "knight",
        title: "A knight in the corner",
        level: "hard",
        points: 50,
        statement: "A knight stands in the corner of an empty chessboard. After one move it can be \
                    on two squares.\n\nOn how many different squares can it be after exactly \
                    three moves?",
        answer: "22",
    },
    NewProblem {
        slug: "last-digits",
        title: "The last six digits",
        level: "hard",
        points: 60,
        statement: "The number 7 to the power of 10 is 282475249. Its last six digits are 475249.\
                    \n\nWhat are the last six digits of 7 to the power of 2026?",
        answer: "105649",
    },
];

/// Whether a given answer is the expected one. Case and the amount of space do not matter.
pub(crate) fn is_right(given: &str, expected: &str) -> bool {
    let words =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_lowercase).collect() };
    words(given) == words(expected)
}

/// Points for a right answer: a tenth less for each wrong one before, but never less than half.
pub(crate) fn award(points: i64, wrong_before: i64) -> i64 {
    let tenths = (10 - wrong_before).clamp(5, 10);
    (points * tenths + 9) / 10
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_answer_is_right_whatever_its_case_and_spaces() {
        for (given, expected, right) in [
            ("22", "22", true),
            (" 22\n", "22", true),
            ("2 2", "22", false),
            ("Lead  Every HORSE", "lead every horse", true),
            ("lead every", "lead every horse", false),
            ("", "22", false),
        ] {
            assert_eq!(is_right(given, expected), right, "{given:?}");
        }
    }

    #[test]
    fn each_wrong_answer_costs_a_tenth_down_to_half() {
        for (points, wrong, expected) in
            [(50, 0, 50), (50, 1, 45), (50, 5, 25), (50, 90, 25), (15, 1, 14), (10, 4, 6)]
        {
            assert_eq!(award(points, wrong), expected, "{points} after {wrong}");
        }
    }

    #[test]
    fn the_expected_answers_are_what_a_program_finds() {
        check("stable-arithmetic", &((37 - 5) * 4 * 7));
        check("sevens", &(1..=2026).filter(|number| number % 7 == 0).sum::<u64>());
        check("mirrors", &(1..=100_000).filter(|&number| is_mirror(number)).count());
        check("small-change", &ways_to_pay(100));
        check("hailstones", &(1..10_000).max_by_key(|&start| hailstones(start)).unwrap());
        check("knight", &squares_after(3).len());
        check("last-digits", &(0..2026).fold(1_u64, |power, _| power * 7 % 1_000_000));
    }

    #[track_caller]
    fn check(slug: &str, found: &impl ToString) {
        let problem = PROBLEMS.iter().find(|problem| problem.slug == slug).unwrap();
        assert_eq!(problem.answer, found.to_string(), "{slug}");
    }

    fn is_mirror(number: u32) -> bool {
        let text = number.to_string();
        text.bytes().eq(text.bytes().rev())
    }

    fn ways_to_pay(cents: usize) -> u64 {
        let mut ways = vec![0; cents + 1];
        ways[0] = 1;
        for coin in [1, 2, 5, 10, 20, 50] {
            for sum in coin..=cents {
                ways[sum] += ways[sum - coin];
            }
        }
        ways[cents]
    }

    fn hailstones(start: u64) -> usize {
        let next = |number: &u64| match number {
            1 => None,
            even if even % 2 == 0 => Some(even / 2),
            odd => Some(odd * 3 + 1),
        };
        std::iter::successors(Some(start), next).count()
    }

    fn squares_after(moves: usize) -> BTreeSet<(i8, i8)> {
        let steps = [(1, 2), (2, 1), (-1, 2), (-2, 1), (1, -2), (2, -1), (-1, -2), (-2, -1)];
        let mut squares = BTreeSet::from([(0, 0)]);
        for _ in 0..moves {
            squares = squares
                .into_iter()
                .flat_map(|(x, y)| steps.map(|(right, up)| (x + right, y + up)))
                .filter(|(x, y)| (0..8).contains(x) && (0..8).contains(y))
                .collect();
        }
        squares
    }
}
