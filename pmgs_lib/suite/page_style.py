"""How a page looks: one style sheet inside the page, readable from a phone to a wide screen; nothing is fetched.

Text stands on its ground at 4.5 : 1 and more. What is wide (tables, code, pictures) scrolls inside its own box.
"""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
html { font: 16px/1.55 system-ui, "Segoe UI", "Liberation Sans", Arial, sans-serif; -webkit-text-size-adjust: 100%; }
body { margin: 0; color: #1b1b1b; background: #fff; overflow-wrap: break-word; }
header, main, footer { max-width: 1200px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 14px; padding-bottom: 10px; border-bottom: 1px solid #d8d8d8; }
header nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; max-width: none;
  margin: 0; padding: 0; }
header nav li { font-size: 15px; }
header nav a { display: inline-block; padding: 4px 0; text-decoration: none; }
header nav a:hover { text-decoration: underline; }
header nav a[aria-current] { color: #1b1b1b; font-weight: 600; border-bottom: 2px solid #1b1b1b; }
.skip { position: absolute; left: -100vw; background: #fff; padding: 8px; }
.skip:focus { left: 8px; top: 8px; z-index: 2; }
a { color: #0b5394; text-underline-offset: 2px; }
:focus-visible { outline: 2px solid #0b5394; outline-offset: 2px; }
h1 { font-size: 28px; line-height: 1.25; margin: 24px 0 10px; }
h2 { font-size: 21px; line-height: 1.3; margin: 34px 0 8px; }
h3 { font-size: 17px; margin: 22px 0 6px; }
p, ul, ol { margin: 8px 0; max-width: 78ch; }
.output p { max-width: none; }
.cell, .output_area { margin: 10px 0; }
.output_area, .text_cell_render, .scroll { overflow-x: auto; }
.output_text { font-size: 14px; }
sup { font-size: 11px; line-height: 0; }
img { max-width: 100%; height: auto; vertical-align: top; }
.output_png, .output_jpeg { min-width: 0; }
pre { margin: 0; overflow-x: auto; font: 13px/1.5 ui-monospace, "Liberation Mono", Menlo, monospace; }
.output pre { padding: 2px 0; }
code { font: 0.9em ui-monospace, "Liberation Mono", Menlo, monospace; background: #f3f3f3; padding: 1px 4px; }
pre code { background: none; padding: 0; }
.input_area { background: #f7f7f7; border-left: 3px solid #c9c9c9; padding: 8px 12px; overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
table.dataframe, .text_cell_render table, table.plain { border: none; }
table.dataframe th, table.dataframe td, .text_cell_render th, .text_cell_render td, table.plain th, table.plain td {
  border: none; border-bottom: 1px solid #e2e2e2; padding: 5px 12px 5px 0; text-align: left; vertical-align: top; }
table.dataframe td { text-align: right; white-space: nowrap; }
table.dataframe thead th { text-align: right; border-bottom: 1.5px solid #222; }
table.dataframe thead th:first-child { text-align: left; }
table.plain thead th { border-bottom: 1.5px solid #222; }
table.plain th, table.plain td { white-space: nowrap; }
table.plain th .quiet { display: inline-block; min-width: 11em; white-space: normal; }
details { margin: 8px 0; border: 1px solid #d8d8d8; border-radius: 4px; padding: 6px 12px; }
summary { cursor: pointer; font-weight: 600; }
details dl { display: grid; grid-template-columns: minmax(90px, max-content) 1fr; gap: 3px 16px; }
details dl { margin: 10px 0; font-size: 14px; }
details dt { color: #565656; }
details dd { margin: 0; overflow-wrap: anywhere; }
.visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.good { color: #14632b; font-weight: 600; }
.bad { color: #a11717; font-weight: 600; }
.quiet { color: #565656; font-weight: 400; }
footer { margin-top: 40px; padding-top: 12px; padding-bottom: 24px; border-top: 1px solid #d8d8d8; }
footer { font-size: 14px; color: #565656; }
.highlight .k, .highlight .kn, .highlight .kc, .highlight .ow { color: #7a0f6b; }
.highlight .s, .highlight .s1, .highlight .s2, .highlight .sa, .highlight .si, .highlight .sd { color: #9c1c1c; }
.highlight .c, .highlight .c1 { color: #4f6b4f; }
.highlight .mi, .highlight .mf, .highlight .o { color: #1a4f8a; }
@media (max-width: 600px) {
  header, main, footer { padding-left: 12px; padding-right: 12px; }
  .output_png img, .output_jpeg img { max-width: 720px; }
  h1 { font-size: 24px; }
  h2 { font-size: 19px; }
  details dl { grid-template-columns: 1fr; }
  details dt { margin-top: 6px; }
}
"""
