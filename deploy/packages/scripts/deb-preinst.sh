case $1 in install | upgrade) refuse_tarball ;; esac
