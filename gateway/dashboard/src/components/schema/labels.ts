// The names of fields in the reader's language.

import { useWord } from "@/composables/word";

export function useFieldLabel() {
  const word = useWord();
  return (field: string) => word(`fields.${field}`, field);
}
