/** All that holds of a layer's entries holds in an image, too: the tests of directories once more, on mounted images. */
process.env['CRISP_TEST_LAYERS'] = 'erofs';

await import('./unpack.test.ts');
await import('./hard-links.test.ts');
await import('./merge.test.ts');
await import('./names.test.ts');
await import('./sparse.test.ts');
await import('./gnu-tar.test.ts');
