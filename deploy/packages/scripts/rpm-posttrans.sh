# At the end of the transaction, when what crisp drives is installed or upgraded too.
activate systemctl restart crisp.service
