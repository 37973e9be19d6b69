//! The page's first part: what an operator has to know, the worst first.

use crate::verdict::{Severity, Verdict};

use super::markup::Markup;

/// Findings that are always to be seen; the others unfold.
const FIRST: usize = 8;

/// Writes the findings, and what a screen reader is to say when they become others.
pub(super) fn write(page: &mut Markup, verdicts: &[Verdict]) {
    page.raw("<section aria-labelledby=\"findings\"><h2 id=\"findings\" class=\"unseen\">");
    page.raw("Findings</h2>\n<p class=\"unseen\" role=\"status\" aria-live=\"polite\">");
    // The leads alone: the rest has numbers that are others each second.
    for verdict in verdicts {
        page.raw(word(verdict.severity)).text(&verdict.lead).raw(". ");
    }
    page.raw("</p>\n");
    let (first, others) = verdicts.split_at_checked(FIRST).unwrap_or((verdicts, &[]));
    write_list(page, first);
    if !others.is_empty() {
        page.put("<details id=\"more-findings\"><summary>", others.len(), " more</summary>");
        write_list(page, others);
        page.raw("</details>\n");
    }
    page.raw("</section>\n");
}

fn write_list(page: &mut Markup, verdicts: &[Verdict]) {
    page.raw("<ul class=\"findings\">");
    for verdict in verdicts {
        page.raw(match verdict.severity {
            Severity::Bad => "<li class=\"finding bad\">",
            Severity::Warning => "<li class=\"finding warning\">",
            Severity::Note => "<li class=\"finding note\">",
            Severity::Good => "<li class=\"finding\">",
        });
        page.raw("<span class=\"mark\" aria-hidden=\"true\">").raw(mark(verdict.severity));
        page.raw("</span><p><span class=\"unseen\">").raw(word(verdict.severity));
        page.raw("</span>");
        match &verdict.look {
            Some(part) => page.put("<a href=\"#", part, "\">").text(&verdict.lead).raw("</a>"),
            None => page.put("<b>", &verdict.lead, "</b>"),
        };
        page.text(&verdict.rest);
        write_advice(page, verdict.advice);
        page.raw("</p></li>\n");
    }
    page.raw("</ul>\n");
}

/// Writes a text in which grave accents enclose what an operator may type.
fn write_advice(page: &mut Markup, advice: &'static str) {
    for (index, piece) in advice.split('`').enumerate() {
        if index.is_multiple_of(2) {
            page.text(piece);
        } else {
            page.put("<code>", piece, "</code>");
        }
    }
}

fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Bad => "\u{2716}",
        Severity::Warning => "!",
        Severity::Note => "i",
        Severity::Good => "\u{2714}",
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Bad => "Problem: ",
        Severity::Warning => "Warning: ",
        Severity::Note => "Note: ",
        Severity::Good => "",
    }
}
