"""The published schema.prisma in SQLAlchemy 2.0: the same seven tables."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, ClassVar

from sqlalchemy import ForeignKey, Index, Numeric, Text, func
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


def utc_now() -> datetime:
    """Return the time as Prisma stores it: UTC, without a time zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def reference(target: str) -> ForeignKey:
    """Return Prisma's foreign key: a row that others need stays."""
    return ForeignKey(f"{target}.id", ondelete="RESTRICT", onupdate="CASCADE")


NOW = func.current_timestamp()  # @default(now()): the database sets it; @updatedAt: the client
Key = Annotated[int, mapped_column(primary_key=True)]
Money = Annotated[Decimal, mapped_column(Numeric(10, 2))]
Moment = Annotated[datetime, mapped_column(TIMESTAMP(precision=3))]


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {str: Text}


class User(Base):
    __tablename__ = "User"

    id: Mapped[Key]
    email: Mapped[str]
    name: Mapped[str]
    created_at: Mapped[Moment] = mapped_column("createdAt", server_default=NOW)
    updated_at: Mapped[Moment] = mapped_column("updatedAt", default=utc_now, onupdate=utc_now)

    orders: Mapped[list[Order]] = relationship(back_populates="user")
    cart: Mapped[Cart | None] = relationship(back_populates="user")

    __table_args__ = (
        Index("User_email_key", "email", unique=True),
        Index("User_email_idx", "email"),
    )


class Product(Base):
    __tablename__ = "Product"

    id: Mapped[Key]
    name: Mapped[str]
    description: Mapped[str | None]
    price: Mapped[Money]
    stock: Mapped[int] = mapped_column(server_default="0")
    category_id: Mapped[int] = mapped_column("categoryId", reference("Category"))
    created_at: Mapped[Moment] = mapped_column("createdAt", server_default=NOW)
    updated_at: Mapped[Moment] = mapped_column("updatedAt", default=utc_now, onupdate=utc_now)

    category: Mapped[Category] = relationship(back_populates="products")

    __table_args__ = (
        Index("Product_categoryId_idx", "categoryId"),
        Index("Product_name_idx", "name"),
    )


class Category(Base):
    __tablename__ = "Category"

    id: Mapped[Key]
    name: Mapped[str]

    products: Mapped[list[Product]] = relationship(back_populates="category")

    __table_args__ = (Index("Category_name_key", "name", unique=True),)


class Order(Base):
    __tablename__ = "Order"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column("userId", reference("User"))
    status: Mapped[str] = mapped_column(server_default="pending")
    total: Mapped[Money]
    created_at: Mapped[Moment] = mapped_column("createdAt", server_default=NOW)

    user: Mapped[User] = relationship(back_populates="orders")
    items: Mapped[list[OrderItem]] = relationship(back_populates="order")

    __table_args__ = (Index("Order_userId_status_idx", "userId", "status"),)


class OrderItem(Base):
    __tablename__ = "OrderItem"

    id: Mapped[Key]
    order_id: Mapped[int] = mapped_column("orderId", reference("Order"))
    product_id: Mapped[int] = mapped_column("productId", reference("Product"))
    quantity: Mapped[int]
    price: Mapped[Money]

    order: Mapped[Order] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()

    __table_args__ = (
        Index("OrderItem_orderId_idx", "orderId"),
        Index("OrderItem_productId_idx", "productId"),
    )


class Cart(Base):
    __tablename__ = "Cart"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column("userId", reference("User"))

    user: Mapped[User] = relationship(back_populates="cart")
    items: Mapped[list[CartItem]] = relationship(back_populates="cart")

    __table_args__ = (Index("Cart_userId_key", "userId", unique=True),)


class CartItem(Base):
    __tablename__ = "CartItem"

    id: Mapped[Key]
    cart_id: Mapped[int] = mapped_column("cartId", reference("Cart"))
    product_id: Mapped[int] = mapped_column("productId", reference("Product"))
    quantity: Mapped[int]

    cart: Mapped[Cart] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()

    __table_args__ = (Index("CartItem_cartId_productId_key", "cartId", "productId", unique=True),)
