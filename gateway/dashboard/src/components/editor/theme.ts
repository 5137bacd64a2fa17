// The editor's colours, as the rest of the panel's.

import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const inks = {
  light: { ground: "#ffffff", ink: "#1f2328", gutter: "#f5f6f8", faint: "#636a74", key: "#0550ae", text: "#0a5c2b", number: "#953800", active: "#f0f3f8" },
  dark: { ground: "#161a21", ink: "#e4e7eb", gutter: "#0e1116", faint: "#a3a9b3", key: "#79b8ff", text: "#7ee787", number: "#ffab70", active: "#1d232c" },
};

export function colours(isDark: boolean): Extension {
  const ink = inks[isDark ? "dark" : "light"];
  const frame = EditorView.theme(
    {
      "&": { backgroundColor: ink.ground, color: ink.ink, fontSize: "13px" },
      ".cm-content": { fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace", caretColor: ink.ink },
      ".cm-gutters": { backgroundColor: ink.gutter, color: ink.faint, border: "none" },
      ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: ink.active },
      ".cm-tooltip": { backgroundColor: ink.ground, color: ink.ink },
      "&.cm-focused": { outline: "2px solid #4c8dff", outlineOffset: "-2px" },
    },
    { dark: isDark },
  );
  const words = HighlightStyle.define([
    { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: ink.key },
    { tag: [tags.string, tags.content], color: ink.text },
    { tag: [tags.number, tags.bool, tags.null], color: ink.number },
    { tag: tags.comment, color: ink.faint },
  ]);
  return [frame, syntaxHighlighting(words)];
}
