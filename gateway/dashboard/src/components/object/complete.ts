// Completion of field names in the text of an object, from its schema.

import type { CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { propertiesAt, type Root, type Schema } from "@/components/schema/schema";

/** The names around a place of a YAML text, by the indentation of the lines above it. */
export function pathInYaml(before: string): string[] {
  const lines = before.split("\n");
  const indentOf = (line: string) => line.length - line.trimStart().length;
  let indent = indentOf(lines.pop() ?? "");
  const path: string[] = [];
  for (const line of lines.reverse()) {
    const found = /^\s*([\w-]+):/.exec(line);
    if (!found?.[1] || indentOf(line) >= indent) continue;
    indent = indentOf(line);
    path.unshift(found[1]);
  }
  return path;
}

/** The same of a JSON text, by the braces that are open. */
export function pathInJson(before: string): string[] {
  const path: string[] = [];
  let key = "";
  let isString = false;
  let text = "";
  for (let i = 0; i < before.length; i += 1) {
    const c = before[i];
    if (isString) {
      if (c === "\\") i += 1;
      else if (c === '"') isString = false;
      else text += c;
    } else if (c === '"') {
      isString = true;
      text = "";
    } else if (c === ":") key = text;
    else if (c === "{" || c === "[") {
      path.push(key);
      key = "";
    } else if (c === "}" || c === "]") path.pop();
  }
  // The first is the text itself.
  return path.slice(1).filter((part) => part !== "");
}

export function completeFields(schema: () => Schema, root: () => Root, language: () => "json" | "yaml") {
  return (context: CompletionContext): CompletionResult | null => {
    const isJson = language() === "json";
    const word = context.matchBefore(isJson ? /"[\w-]*/ : /[\w-]*/);
    if (!word || (word.from === word.to && !context.explicit)) return null;
    const before = context.state.sliceDoc(0, word.from);
    const fields = propertiesAt(schema(), isJson ? pathInJson(before) : pathInYaml(before + " "), root());
    return {
      from: word.from,
      options: Object.entries(fields).map(([name, field]) => ({
        label: isJson ? `"${name}"` : name,
        apply: isJson ? `"${name}": ` : `${name}: `,
        type: "property",
        info: field.description,
      })),
    };
  };
}
