// Draws the formulas, which pymdownx.arithmatex leaves as \(…\) within a line and as \[…\] on lines of their own.
for (const node of document.querySelectorAll(".arithmatex")) {
  const text = node.textContent.trim();
  katex.render(text.slice(2, -2), node, {displayMode: text.startsWith("\\["), throwOnError: false});
}
