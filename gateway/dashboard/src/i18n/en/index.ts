// All areas of this language. Each file is an area, named by it.

const areas = import.meta.glob<{ default: Record<string, unknown> }>("./*.ts", { eager: true });

const messages: Record<string, Record<string, unknown>> = {};
for (const [file, area] of Object.entries(areas)) {
  if (file !== "./index.ts") messages[file.slice(2, -3)] = area.default;
}
export default messages as never;
