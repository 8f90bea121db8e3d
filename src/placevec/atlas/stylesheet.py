"""The style of reports: one column of text, wide tables and figures, light and dark, 390 to 1440 pixels, paper."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #16181d; --grey: #5b626d; --line: #dfe3e8; --soft: #f5f7f9; --accent: #005f99;
  --own: #eef6fb; --good: #00674b; --good-soft: #e3f4ee; --fair: #5b5b2b; --fair-soft: #f4f2df;
  --bad: #9a3b00; --bad-soft: #fdeee4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14161a; --ink: #e8eaee; --grey: #a3abb7; --line: #343a43; --soft: #1d2026; --accent: #6cbdf0;
    --own: #17293a; --good: #6fd3b1; --good-soft: #12332a; --fair: #d9d48f; --fair-soft: #302e17;
    --bad: #f3a878; --bad-soft: #3c2414;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0; padding: 0 1.1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
main, header, footer { max-width: 62rem; margin: 0 auto; }
p, ul, aside, .facts, pre, nav { max-width: 44rem; }
header { padding: 3.2rem 0 1.4rem; border-bottom: 1px solid var(--line); }
h1 {
  font-size: clamp(1.65rem, 1.2rem + 2vw, 2.5rem); line-height: 1.15; letter-spacing: -0.018em;
  margin: 0 0 .5rem;
}
.subtitle { font-size: 1.12rem; color: var(--grey); margin: 0; line-height: 1.45; }
nav { margin: 1.3rem 0 0; font-size: .9rem; }
nav ol { display: flex; flex-wrap: wrap; gap: .25rem 1.3rem; list-style: none; padding: 0; margin: 0; }
nav a { color: var(--accent); text-decoration: none; border-bottom: 1px solid transparent; }
nav a:hover, nav a:focus { border-bottom-color: currentColor; }
h2 {
  font-size: 1.4rem; letter-spacing: -0.01em; line-height: 1.25; margin: 3rem 0 .6rem;
  scroll-margin-top: 1rem;
}
h3 { font-size: 1.08rem; margin: 2rem 0 .4rem; }
p { margin: .6rem 0; }
.facts {
  display: grid; grid-template-columns: minmax(6.5rem, max-content) 1fr; gap: 0 1.4rem;
  margin: 1.2rem 0; font-size: .93rem;
}
.facts dt { color: var(--grey); padding: .3rem 0; border-top: 1px solid var(--line); }
.facts dd { margin: 0; padding: .3rem 0; border-top: 1px solid var(--line); }
aside {
  margin: 1.2rem 0; padding: .7rem 1rem; border-left: 4px solid var(--accent);
  background: var(--soft); font-size: .95rem; border-radius: 0 6px 6px 0;
}
aside p { margin: 0; }
aside strong { color: var(--accent); margin-right: .35em; }
aside.warning { border-color: var(--bad); background: var(--bad-soft); }
aside.warning strong { color: var(--bad); }
pre {
  background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem;
  overflow-x: auto; font-size: .85rem; line-height: 1.5;
}
code {
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: normal;
}
figure { margin: 1.6rem 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border-radius: 6px; }
figcaption, caption { color: var(--grey); font-size: .88rem; line-height: 1.45; }
figcaption { margin-top: .55rem; max-width: 44rem; }
figcaption b, caption b { color: var(--ink); }
.scroll { overflow-x: auto; margin: 1.6rem 0; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
table {
  border-collapse: collapse; font-size: .9rem; line-height: 1.4; width: 100%;
  border-bottom: 2px solid var(--ink);
}
caption { text-align: left; padding: 0 0 .6rem; caption-side: top; }
/* Of a table that is wider than the screen, the caption is not: it stays in view while the table is scrolled. */
caption span { display: inline-block; position: sticky; left: 0; max-width: min(100%, calc(100vw - 2rem)); }
thead th {
  text-align: left; font-weight: 600; vertical-align: bottom; padding: .5rem .8rem .5rem 0;
  border-top: 2px solid var(--ink); border-bottom: 1px solid var(--ink);
}
thead small { display: block; font-weight: 400; color: var(--grey); font-size: .82em; }
tbody td, tbody th {
  text-align: left; font-weight: 400; vertical-align: baseline; padding: .38rem .8rem .38rem 0;
  border-top: 1px solid var(--line);
}
tbody tr:first-child > * { border-top: 0; }
td.number, th.number { text-align: right; white-space: nowrap; }
thead th.number { white-space: normal; }
tr.highlight > * { background: var(--own); }
tr.highlight > :first-child { box-shadow: inset 3px 0 0 var(--accent); padding-left: .7rem; }
.records, .ranking { overflow-wrap: break-word; }
.records tbody th { min-width: 9em; }
.records small, .matches small { display: block; color: var(--grey); font-size: .86em; }
.scores { table-layout: fixed; }
.scores col.features { width: 24%; }
tr.group th {
  font-weight: 600; padding-top: 1.2rem; border-top: 0; border-bottom: 1px solid var(--grey);
}
tr.group + tr > * { border-top: 0; }
tr.group small, .matches tr.group small {
  display: inline; font-weight: 400; font-size: .86em; color: var(--grey); margin-left: .5em;
}
.scores tbody th { padding-left: .7rem; }
tr.group th, .scores thead th:first-child { padding-left: 0; }
.tag {
  display: inline-block; font-size: .74em; color: var(--accent); border: 1px solid currentColor;
  border-radius: 3px; padding: 0 .35em; margin-left: .45em; vertical-align: .08em;
}
.scores .mean { display: inline-block; min-width: 8.2em; white-space: nowrap; }
.interval { display: inline-block; color: var(--grey); white-space: nowrap; font-size: .92em; }
.scores .sd { color: var(--grey); font-weight: 400; }
.best { font-weight: 700; }
.ranking th { min-width: 5.2em; }
.ranking tbody th { min-width: 13em; }
.ranking .sign { display: inline-block; width: 1.35em; text-align: right; }
.sign.beats { color: var(--good); } .sign.level { color: var(--fair); } .sign.loses { color: var(--bad); }
.matches td, .matches tbody th { padding-top: .6rem; padding-bottom: .6rem; vertical-align: top; }
.matches tr.group th { padding-top: 1.3rem; padding-bottom: .4rem; }
.matches tbody th { font-weight: 600; min-width: 7em; }
.matches tbody th small { font-weight: 400; }
.matches .own { box-shadow: inset 3px 0 0 var(--accent); }
.matches .rival { box-shadow: inset 3px 0 0 var(--grey); }
.matches .own, .matches .rival { padding-left: .8rem; }
.matches .strips { width: 38%; }
.strip { display: block; width: 100%; overflow: visible; margin-bottom: .3rem; }
.strip .tick { stroke: var(--line); stroke-width: 1; }
.strip line.own { stroke: var(--accent); stroke-width: 3; stroke-linecap: round; stroke-opacity: .5; }
.strip line.rival { stroke: var(--grey); stroke-width: 3; stroke-linecap: round; stroke-opacity: .5; }
.strip circle.own { fill: var(--accent); }
.strip circle.rival { fill: var(--grey); }
.verdict {
  display: block; width: fit-content; font-size: .84em; line-height: 1.35; padding: .1rem .5rem; border-radius: 4px;
  margin: .25rem 0 .1rem;
}
.verdict.beats { color: var(--good); background: var(--good-soft); }
.verdict.level { color: var(--fair); background: var(--fair-soft); }
.verdict.loses { color: var(--bad); background: var(--bad-soft); }
footer {
  margin-top: 4rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--grey);
  font-size: .85rem;
}
@media (max-width: 640px) {
  body { padding: 0 .9rem 3rem; }
  header { padding-top: 1.8rem; }
  h2 { margin-top: 2.3rem; }
  table { font-size: .82rem; }
  .scores col.features { width: 30%; }
  .scores tbody th { padding-left: .45rem; padding-right: .5rem; }
  .tag { display: block; width: fit-content; margin: .15rem 0 0; }
  .scores .mean { min-width: 0; display: block; }
  tbody td, thead th { padding-right: .5rem; }
  .ranking tbody th { min-width: 8.5em; max-width: 10em; }
  .ranking .number { min-width: 3.6em; }
  .matches thead { display: none; }
  .matches tr, .matches th, .matches td, .matches .strips { display: block; width: auto; }
  .matches tbody tr > * { border-top: 0; padding: .2rem 0; }
  .matches tr.group th { padding: 1.3rem 0 .3rem; }
  .matches tbody tr + tr { border-top: 1px solid var(--line); padding: .4rem 0; }
  .matches td.own, .matches td.rival { padding-left: .8rem; margin: .25rem 0; }
  .matches td.own::before { content: "Best learned: "; color: var(--grey); }
  .matches td.rival::before { content: "Best baseline: "; color: var(--grey); }
  .facts { grid-template-columns: 1fr; }
  .facts dt { padding-bottom: 0; font-size: .85rem; }
  .facts dd { border-top: 0; padding-top: 0; }
}
@media print {
  :root { --paper: #fff; --ink: #000; --grey: #444; --line: #ccc; --soft: #f6f6f6; }
  body { font-size: 10pt; padding: 0; }
  nav { display: none; }
  h2, h3, h2 + p, caption { break-after: avoid; }
  figure, aside, pre, tr { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll, pre { overflow: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
