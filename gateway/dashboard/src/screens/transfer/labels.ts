// Labels as they are typed: one a line.

export function labels(text: string): string[] {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
}

/** Lines that are no labels. */
export function notLabels(text: string): string[] {
  return labels(text).filter((label) => !/^[^=]+=/.test(label));
}
