// The prompts we use, in a file of their own: loaded as one when a question is asked, the rest of the package is left out of the bundle.
export { input, password } from '@inquirer/prompts'
export { picker } from './picker.ts'
