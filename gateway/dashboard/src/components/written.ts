// Counts the changes this panel has made, so that what shows their consequences looks again.

import { ref } from "vue";

export const written = ref(0);
